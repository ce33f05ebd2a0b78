"""From an HTTP request to what it says: the person, the form, the entry; and from a result to a page or to JSON."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from data_recipes.collect.model import Annotator, Entry
from data_recipes.collect.web.security import Buckets
from data_recipes.collect.web.settings import Settings

COOKIE = "align_collect"
FIELDS = 64  # more than any form of ours has


class Stop(Exception):
    """Ends a request with a page that says why.

    Args:
        status: HTTP status. title: a few words. text: what to do. headers: further headers.
    """

    def __init__(self, status: int, title: str, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(title)
        self.status, self.title, self.text, self.headers = status, title, text, headers or {}


@dataclass(frozen=True, slots=True)
class Visit:
    """A request by a person who is signed in: who it is, the session's secret, and the token its forms carry."""

    person: Annotator
    session: str

    @property
    def token(self) -> str:
        """Against forged forms: follows from the session's secret, which no other site can read."""
        return hashlib.sha256(f"form:{self.session}".encode()).hexdigest()


class Door:
    """Who may come in, and how often.

    Args:
        store: the collection. settings: rates.
    """

    def __init__(self, store: Any, settings: Settings) -> None:
        self.store = store
        self.strangers, self.people = Buckets(*settings.join_rate), Buckets(*settings.page_rate)

    def visit(self, request: Request, *, lead: bool = False) -> Visit:
        """The signed-in person. Raises Stop: nobody, not a lead, or too often."""
        secret = session_of(request)
        person = self.store.annotator_of_session(secret) if secret else None
        if person is None or not person.active:
            self.stranger(request)
            raise Stop(401, "Please open your link", "You are not signed in here. Open the link that the team's lead gave you.")
        _slow_down(self.people.wait(person.id))
        if lead and person.role != "lead":
            raise Stop(403, "For the lead", "This page is for the lead of the collection.")
        return Visit(person, secret)

    def stranger(self, request: Request) -> None:
        """Counts a request of somebody who is not signed in. Raises Stop: too often."""
        _slow_down(self.strangers.wait(request.client.host if request.client else ""))


def _slow_down(seconds: float) -> None:
    if seconds:
        wait = str(int(seconds) + 1)
        raise Stop(429, "One moment", "Too many requests at once. Please wait a few seconds.", {"retry-after": wait})


def session_of(request: Request) -> str | None:
    """The session's secret from the cookie, or None."""
    try:
        found = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found and found.value else None


async def read_form(request: Request) -> dict[str, list[str]]:
    """The fields of a form, each a list of values. Raises Stop where it is none."""
    try:
        text = (await request.body()).decode("utf-8")
        return parse_qs(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=FIELDS, errors="strict")
    except ValueError as error:  # UnicodeDecodeError is one
        raise Stop(400, "Not understood", f"The form could not be read ({error}).") from error


def check_token(form: dict[str, list[str]], visit: Visit) -> None:
    """Raises Stop unless the form carries the session's token."""
    if not hmac.compare_digest(one(form, "token").encode(), visit.token.encode()):
        raise Stop(403, "Please load the page again", "This form belongs to another session. Load the page again.")


def one(form: dict[str, list[str]], name: str, default: str = "") -> str:
    """The last value of a field."""
    return form.get(name, [default])[-1]


def entry_of(form: dict[str, list[str]]) -> Entry:
    """The entry that a form says. The store checks what it means; here only its types. Raises Stop."""
    kind = one(form, "kind")
    if kind not in BODIES:
        raise Stop(400, "Not understood", f"The kind must be one of {', '.join(BODIES)}.")
    return Entry(
        client_id=one(form, "client_id"), kind=kind, item=_number(form, "item"), body=BODIES[kind](form),
        lease=one(form, "lease") or None, visible_ms=_number(form, "visible_ms", "0"),
        guideline=_number(form, "guideline", "1"),
    )  # fmt: skip


def _number(form: dict[str, list[str]], name: str, default: str = "") -> int:
    said = one(form, name, default)
    if not (said.isascii() and said.isdigit() and len(said) <= 15):
        raise Stop(400, "Not understood", f"{name} must be a whole number.")
    return int(said)


def _vote(form: dict[str, list[str]]) -> dict[str, Any]:
    """`choice` is what the button says: "left 4" or "tie"."""
    choice, _, strength = one(form, "choice").partition(" ")
    acceptable = {side: ACCEPTABLE.get(one(form, f"acceptable_{side}")) for side in ("left", "right")}
    if choice in IMPLIED:
        acceptable = dict.fromkeys(acceptable, IMPLIED[choice])
    return {
        "choice": choice,
        "strength": int(strength) if len(strength) == 1 and strength.isdigit() else strength or None,
        "acceptable": None if None in acceptable.values() else acceptable,
        "tags": form.get("tags", []),
    }


def _reason(form: dict[str, list[str]]) -> dict[str, Any]:
    """One's own words, or else the reason that was marked."""
    return {"reason": one(form, "reason").strip() or one(form, "reason_given")}


def _lines(text: str) -> str:
    """Forms send every new line as two characters (HTML standard, 4.10.21.8)."""
    return text.replace("\r\n", "\n")


ACCEPTABLE = {"yes": True, "no": False}
IMPLIED = {"both_good": True, "both_bad": False}
BODIES: dict[str, Callable[[dict[str, list[str]]], dict[str, Any]]] = {
    "vote": _vote,
    "undo": lambda form: {"event": one(form, "event")},
    "skip": _reason,
    "flag": _reason,
    "edit": lambda form: {"side": one(form, "side"), "text": _lines(one(form, "text"))},
    "comment": lambda form: {"text": _lines(one(form, "text")).strip()},
}


def wants_json(request: Request) -> bool:
    """Whether the page's script asks, rather than a browser that goes somewhere."""
    return "application/json" in request.headers.get("accept", "")


def go(path: str) -> Response:
    """Sends the browser on, by GET."""
    return RedirectResponse(path, status_code=303)


def answer(request: Request, page: Callable[[], str], document: dict[str, Any], status: int = 200) -> Response:
    """JSON for the script, a page for everybody else."""
    if wants_json(request):
        return JSONResponse(document, status_code=status)
    return HTMLResponse(page(), status_code=status)
