"""What the lead meets: how far everybody is, how well people agree, what they disagree on, and files to take away."""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from data_recipes.collect.aggregate import RULES
from data_recipes.collect.export import KINDS, Wish, export
from data_recipes.collect.web.pages import Pages
from data_recipes.collect.web.requests import Door
from data_recipes.collect.web.work import STRENGTHS, Work

SHOWN = 200  # rows of a table on the page; the files have all
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file knows: the same votes give the same bytes


class Lead:
    """Handlers for leads; everybody else is refused.

    Args:
        store: the collection. pages: templates. door: who may come in. work: shows an item.
    """

    def __init__(self, store: Any, pages: Pages, door: Door, work: Work) -> None:
        self.store, self.pages, self.door, self.work = store, pages, door, work

    def overview(self, request: Request) -> Response:
        """GET /lead: progress, agreement, disagreements, export."""
        from data_recipes.collect.agreement import agreement
        from data_recipes.collect.stats_report import agreement_table

        visit = self.door.visit(request, lead=True)
        found = agreement([vote for vote in self.store.votes() if vote.role != "judge"])
        return HTMLResponse(self.pages.html(
            "lead", visit=visit, here="lead", found=self.store.lead_overview(), rows=SHOWN, ago=_ago, duration=_duration,
            verdict=_verdict, now=time.time(), agreement=agreement_table(found, "shared items"),
            shared=found["shared_items"], kinds=KINDS, rules=RULES,
        ))  # fmt: skip

    def stats(self, request: Request) -> Response:
        """GET /lead/stats: all that `align collect stats` says."""
        from data_recipes.collect.stats_report import report, tables

        visit = self.door.visit(request, lead=True)
        found = report(self.store.votes())
        return HTMLResponse(self.pages.html("stats", visit=visit, here="lead", tables=tables(found), notes=found["notes"]))

    def settle(self, request: Request) -> Response:
        """GET /lead/settle/ITEM: the item, for an answer that decides."""
        visit = self.door.visit(request, lead=True)
        task = self.store.task_for_lead(request.path_params["item"], visit.person.id)
        return HTMLResponse(self.work.item_page(visit, task, settles=True))

    def export(self, request: Request) -> Response:
        """GET /lead/export?to=KIND&aggregate=RULE: a zip of what `align collect export` writes, manifest and all."""
        self.door.visit(request, lead=True)
        wish = Wish(request.query_params.get("to", "dpo"), request.query_params.get("aggregate", "majority"))
        name = f"{wish.to}-{wish.aggregate}"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.{'csv' if wish.to == 'csv' else 'jsonl'}"
            export(self.store, wish, path)
            packed = _zip(sorted(Path(folder).iterdir()))
        headers = {"content-disposition": f'attachment; filename="{name}.zip"'}
        return Response(packed, media_type="application/zip", headers=headers)


def _zip(paths: list[Path]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.writestr(zipfile.ZipInfo(path.name, EPOCH), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "not known yet"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _ago(at: float | None, now: float) -> str:
    return "not yet" if at is None else f"{_duration(max(0.0, now - at))} ago"


def _verdict(vote: dict[str, Any]) -> str:
    """One vote in words, in the item file's order."""
    plain = {"tie": "tie", "both_good": "both good", "both_bad": "both bad"}
    if vote["verdict"] in plain:
        return plain[vote["verdict"]]
    return f"{vote['verdict']} {STRENGTHS[abs(vote['signed'])]} better"
