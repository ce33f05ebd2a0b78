"""How answers keep the team's own style guide (`data_recipes.style`), rule by rule."""

from __future__ import annotations

from collections.abc import Sequence

from data_recipes import style
from data_recipes.audit.excerpts import place
from data_recipes.audit.model import LOOK, Bars, Context, Finding, Row, counted
from data_recipes.audit.registry import check


def _needs(rows: Sequence[Row], context: Context) -> str:
    if context.guide is None:
        return "a style guide: --style FILE"
    return "" if any(style.taught(row.record) for row in rows) else "rows with answers"


@check("style-guide", "The style guide", "Answers", needs=_needs, mend="style: {guide: [FILE]}",
       why="A model answers as its rows do: what breaks the guide here will break it in use.")
def style_guide(rows: Sequence[Row], context: Context) -> Finding:
    """Rows whose trained answer (of a pair the chosen one) breaks a rule, and pairs whose rejected answer keeps more."""
    found = style.audit([row.record for row in rows], context.guide)
    by_place = {row.where: row for row in rows}
    places = [place(by_place[one["where"]], one["detail"], _part(by_place[one["where"]])) for one in found["findings"]]
    contrary = len(found["rejected_better"])
    text = f"{found['broken']:,} of {found['rows']:,} answers break a rule of '{found['guide']}'."
    if contrary:
        text += f" In {contrary:,} pairs the rejected answer keeps the guide better than the chosen one."
    bars = Bars("answers that break", tuple((name, float(count)) for name, count in found["rules"].items()))
    return counted("style-guide", "The style guide", text, places, found["rows"], level=LOOK, unit="answers", bars=(bars,))


def _part(row: Row) -> str:
    return "chosen" if "chosen" in row.answers else "answer"
