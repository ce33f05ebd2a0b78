"""A classifier's part of `align report`: figures with intervals, plots and the rows that it is most wrong about.

All of it was measured when the run ended and lies in its private folder; no model is loaded.
"""

from __future__ import annotations

import json
from typing import Any

from alignment.evaluate.page import table
from alignment.evaluate.show import interval
from alignment.labelling.outcome import EVALUATION, MOST
from alignment.runs import Run

CONFUSION = (
    "Rows are the true classes, columns what was called; the shares of a row add up to one. What stands beside the diagonal is "
    "what gets mixed up."
)
RELIABILITY = (
    "Whether a probability of 0.8 is right in eight of ten cases. Each half of the rows was scaled by the temperature of the "
    "other half; the lines are 95 % intervals. The error's own interval comes from the bootstrap, whose draws make it a little "
    "larger."
)


def of_classifier(run: Run) -> dict[str, Any]:
    """`measured` and what else a run's page shows; a run that is not completed has nothing yet."""
    empty = {"rows": [], "rows_note": "", "samples": [], "samples_words": "", "samples_note": "", "measured": None}
    file = run.private / EVALUATION
    if not file.is_file():
        why = "no row was held out" if run.state == "completed" else f"the run is {run.state}"
        return {**empty, "samples_note": f"Nothing was measured: {why}."}
    found = json.loads(file.read_text(encoding="utf-8"))
    text, _, label = found["first"].rpartition("\n  -> ")
    wrong = found.get("wrong", [])
    return {
        **empty,
        "rows": [{"where": "the first training row", "pieces": [{"text": f"{text}\n", "trained": False},
                                                                {"text": label, "trained": True}]}],
        "measured": {"tables": tables(found), "plots": plots(found)},
        "samples": [sample(row) for row in wrong],
        "samples_words": "Held-out rows that were most surely answered wrongly, or are furthest off." if wrong else "",
        "samples_note": "" if wrong else "No held-out row is answered wrongly." if "wrong" in found else "",
    }


def tables(found: dict) -> list[dict]:
    """Figures beside the trivial guess's, and the rates of each group."""
    trivial = found["baseline"]
    rows = [(name.replace("_", " "), interval(value, 3), interval(trivial["figures"][name], 3))
            for name, value in found["figures"].items()]
    if calibration := found.get("calibration"):
        rows.append(("calibration error as trained", interval(calibration["ece_before"], 3), ""))
        rows.append((f"at temperature {calibration['temperature']:.3g}", interval(calibration["ece_after"], 3), ""))
    header = (f"{found['rows']:,} rows", "with 95 % interval", trivial["says"])
    made = [table(rows, header, "Figures")]
    if groups := found.get("groups"):
        names = [name for name in groups[0] if name not in ("group", "rows")]
        body = [(group["group"], group["rows"], *(interval(group[name], 3) for name in names)) for group in groups]
        made.append(table(body, ("group", "rows", *names), "By group"))
    return made


def plots(found: dict) -> list[dict]:
    """The confusion matrix and the reliability diagram, drawn anew."""
    from alignment.evaluate.figures import svg_uri
    from alignment.labelling.plots import draw_confusion, draw_reliability

    made, names = [], found["problem"]["names"]
    if "confusion" in found and len(names) <= MOST:
        image = svg_uri(draw_confusion(found["confusion"], names))
        made.append({"title": "Confusion matrix", "image": image, "meaning": CONFUSION})
    if "calibration" in found:
        image = svg_uri(draw_reliability(found["calibration"]))
        made.append({"title": "As sure as right?", "image": image, "meaning": RELIABILITY})
    return made


def sample(row: dict) -> dict:
    """A wrong row as the page shows samples."""
    turns = [{"role": row["where"], "content": row["text"]}]
    turns += [{"role": "second text", "content": row["pair"]}] if row["pair"] else []
    sides = [{"name": "label", "text": row["label"], "note": ""}, {"name": "said", "text": row["said"], "note": ""}]
    return {"prompt": turns, "sides": sides}
