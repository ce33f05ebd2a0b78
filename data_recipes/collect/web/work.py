"""What an annotator meets: the link, the item, the answers to it, the guidelines, one's own answers."""

from __future__ import annotations

import json
import secrets
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from data_recipes.collect.model import Task
from data_recipes.collect.people import SESSION_SECONDS
from data_recipes.collect.web import markup
from data_recipes.collect.web.pages import Pages, remaining_words, turns_of
from data_recipes.collect.web.requests import (
    COOKIE,
    Door,
    Stop,
    Visit,
    answer,
    check_token,
    entry_of,
    go,
    one,
    read_form,
    session_of,
    wants_json,
)
from data_recipes.collect.web.settings import Settings

MINE = 100  # own answers on one page
STRENGTHS = ("", "slightly", "somewhat", "clearly", "much")
PLAIN = {"tie": "Tie", "both_bad": "Both bad", "both_good": "Both good"}
ON = ("/work", "Go on")


class Work:
    """Handlers for annotators.

    Args:
        store: the collection. pages: templates. door: who may come in. settings: addresses.
    """

    def __init__(self, store: Any, pages: Pages, door: Door, settings: Settings) -> None:
        self.store, self.pages, self.door, self.settings = store, pages, door, settings
        self._newest: dict[int, str] = {}  # the page each person opened last

    # ------------------------------------------------------------------------------------------------------- coming in

    def link(self, request: Request) -> Response:
        """GET /join/SECRET: a button, the same whatever the secret is, so that a preview learns and spends nothing."""
        self.door.stranger(request)
        return HTMLResponse(self.pages.html("join", link=request.path_params["link"]))

    async def join(self, request: Request) -> Response:
        """POST /join: the link's secret for a cookie."""
        form = await read_form(request)
        return await run_in_threadpool(self._join, request, one(form, "link"))

    def _join(self, request: Request, link: str) -> Response:
        self.door.stranger(request)
        person = self.store.annotator_of_token(link) if link else None
        if person is None or not person.active:
            raise Stop(403, "This link has ended", "There is a newer one, or it was taken back. The lead can make another.")
        response = go("/lead" if person.role == "lead" else "/work")
        response.set_cookie(
            COOKIE, self.store.session_open(person.id), max_age=SESSION_SECONDS, path="/", httponly=True,
            samesite="strict", secure=request.url.scheme == "https" or self.settings.url.startswith("https:"),
        )  # fmt: skip
        return response

    async def leave(self, request: Request) -> Response:
        """POST /leave: this browser is nobody again; an open item goes back."""
        form = await read_form(request)
        return await run_in_threadpool(self._leave, request, form)

    def _leave(self, request: Request, form: dict[str, list[str]]) -> Response:
        visit = self.door.visit(request)
        check_token(form, visit)
        current = self.store.progress(visit.person.id).current
        if current:
            self.store.release(visit.person.id, current)
        self.store.session_close(session_of(request))
        response = HTMLResponse(self.pages.message("Signed out", "Thank you. Your link opens the page again."))
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response

    # ----------------------------------------------------------------------------------------------------------- the item

    def item(self, request: Request) -> Response:
        """GET /work: the open item, or the next one."""
        visit = self.door.visit(request)
        task = self.store.claim(visit.person.id)
        if task is None:
            return self._nothing_left(visit)
        return HTMLResponse(self.item_page(visit, task))

    def item_page(self, visit: Visit, task: Task, *, settles: bool = False) -> str:
        """The page of one item; `settles`: a lead decides between others' answers."""
        view = secrets.token_urlsafe(9)
        self._newest[visit.person.id] = view
        progress = self.store.progress(visit.person.id)
        undoable = None if settles else self._undoable(visit)
        edits = {side: markup.without_hidden(getattr(task, side)) for side in ("left", "right")}
        return self.pages.html(
            "work", visit=visit, here="lead" if settles else "work", task=task, view=view, settles=settles, progress=progress,
            remaining=remaining_words(progress), turns=turns_of(task.messages), questions=self.store.questions(),
            guidelines=self.store.guidelines(), undoable=undoable, edits=edits,
            last=said(undoable["kind"], undoable["body"]) if undoable else "",
            next="/lead" if settles else "/work",
        )  # fmt: skip

    def _undoable(self, visit: Visit) -> dict[str, Any] | None:
        """The newest own answer that `u` takes back."""
        own = self.store.mine(visit.person.id, 20)
        return next((entry for entry in own if can_undo(entry)), None)

    def _nothing_left(self, visit: Visit) -> Response:
        progress = self.store.progress(visit.person.id)
        text = (
            "There is no item for you right now. Thank you! Others may still hold some; look again later."
            if progress.done < progress.total
            else "You have answered everything there was for you. Thank you!"
        )
        return HTMLResponse(self.pages.message("All done", text, visit, ("/mine", "Look at my answers")))

    async def entry(self, request: Request) -> Response:
        """POST /entry: a vote, skip, flag, edit, comment or undo. Acknowledged means stored on the disk."""
        form = await read_form(request)
        return await run_in_threadpool(self._entry, request, form)

    def _entry(self, request: Request, form: dict[str, list[str]]) -> Response:
        visit = self.door.visit(request)
        check_token(form, visit)
        self._check_asked(form)
        reply = self.store.record(visit.person.id, entry_of(form))
        if wants_json(request):
            # The reply as it was first given, byte for byte.
            return Response(json.dumps(reply, ensure_ascii=False, sort_keys=True), media_type="application/json")
        if feedback := reply.get("feedback"):
            return HTMLResponse(self.pages.message("What was expected", feedback_words(feedback), visit, ON))
        return go("/work")

    def _check_asked(self, form: dict[str, list[str]]) -> None:
        """Whether each answer is acceptable is part of the vote where it is asked. Raises Stop."""
        choice = one(form, "choice").partition(" ")[0]
        if one(form, "kind") != "vote" or choice in ("both_good", "both_bad") or not self.store.questions()["acceptable"]:
            return
        if not all(one(form, f"acceptable_{side}") in ("yes", "no") for side in ("left", "right")):
            raise Stop(400, "One answer is missing", "Please say for each answer whether it is acceptable by itself.")

    async def release(self, request: Request) -> Response:
        """POST /release, sent when the page is closed: the item goes back.

        A reload closes and opens the page at the same time, in either order, so only the page that was opened last may
        give the item back.
        """
        form = await read_form(request)
        return await run_in_threadpool(self._release, request, form)

    def _release(self, request: Request, form: dict[str, list[str]]) -> Response:
        visit = self.door.visit(request)
        check_token(form, visit)
        newest = self._newest.get(visit.person.id)
        if newest in (None, one(form, "view")):
            self.store.release(visit.person.id, one(form, "lease"))
        return JSONResponse({"ok": True})

    # -------------------------------------------------------------------------------------------------------------- else

    def guidelines(self, request: Request) -> Response:
        """GET /guidelines: the newest version."""
        visit = self.door.visit(request)
        return HTMLResponse(self.pages.html("guidelines", visit=visit, here="guidelines", guidelines=self.store.guidelines()))

    def mine(self, request: Request) -> Response:
        """GET /mine: one's own answers, and nobody else's."""
        visit = self.door.visit(request)
        entries = [shown_entry(entry) for entry in self.store.mine(visit.person.id, MINE)]
        return HTMLResponse(self.pages.html(
            "mine", visit=visit, here="mine", entries=entries, guidelines=self.store.guidelines(),
            view=secrets.token_urlsafe(9),
        ))  # fmt: skip

    def refused(self, request: Request, status: int, title: str, text: str, headers: dict[str, str]) -> Response:
        """A fault as a page, or as JSON for the script."""
        document = {"error": {"status": status, "title": title, "text": text}}
        forward = ON if status in (400, 403, 409) else ("/work", "Try again") if status in (401, 429, 507) else None
        response = answer(request, lambda: self.pages.message(title, text, None, forward), document, status)
        response.headers.update(headers)
        return response


def can_undo(entry: dict[str, Any]) -> bool:
    """Whether one of a person's entries ends a task and still holds."""
    return entry["kind"] in ("vote", "skip", "flag") and not entry["undone"]


def feedback_words(feedback: dict[str, Any]) -> str:
    """What a practice answer is told."""
    expected = {"left": "answer A is better", "right": "answer B is better", "tie": "a tie", "both_good": "both good",
                "both_bad": "both bad"}[feedback["expected"]]  # fmt: skip
    start = "That is what was expected" if feedback["right"] else "Another answer was expected"
    return f"{start}: {expected}. {markup.visible(feedback['text'] or '')}".strip()


def shown_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """One own entry for the list: what was said, in words."""
    return {**entry, "said": said(entry["kind"], entry["body"]), "can_undo": can_undo(entry),
            "text": entry["body"].get("text") or entry["body"].get("reason") or ""}  # fmt: skip


def said(kind: str, body: dict[str, Any]) -> str:
    """An entry in words, by the screen's sides."""
    if kind != "vote":
        side = {"left": " answer A", "right": " answer B"}.get(body.get("side", ""), "")
        return {"skip": "Skipped", "flag": "Flagged", "edit": "Edited", "comment": "Commented"}.get(kind, kind) + side
    if body["choice"] in PLAIN:
        return PLAIN[body["choice"]]
    letter = "A" if body["choice"] == "left" else "B"
    return f"{letter} {STRENGTHS[body['strength'] or 0]} better".replace("  ", " ")
