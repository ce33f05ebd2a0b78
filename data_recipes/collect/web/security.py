"""What stands before every handler: host, origin, size and time of the body; and the headers of every answer.

One ASGI layer, so that nothing reaches a handler unchecked and no handler can forget a header. The signed-in person, the
form's token and the rate are checked where the person is known (`requests.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from data_recipes.collect.web.settings import Settings

# Only our own files, no inline script or style, no image from anywhere, and no string may become markup in a script
# (trusted types): three of these would each stop what the other layers let through.
POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
    "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
    "trusted-types 'none'",
))  # fmt: skip
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: with that, browsers send `Origin: null` with our own forms (Fetch standard, 3.2).
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "x-dns-prefetch-control": "off",
    "x-robots-tag": "noindex, nofollow",
}
SAFE_METHODS = ("GET", "HEAD")
FORM = "application/x-www-form-urlencoded"
KEPT_BUCKETS = 4096


class Guard:
    """ASGI middleware: refuses before the application sees a request, and sets the headers of whatever is answered.

    Args:
        app: the application. settings: hosts, origins and limits.
    """

    def __init__(self, app: Callable, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Runs one request, or answers it with the fault found."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        answer = _with_headers(send)
        fault = self._fault(scope["method"], headers)
        if fault is None and scope["method"] not in SAFE_METHODS:
            body, fault = await self._body(receive)
            receive = _once(body)
        if fault is not None:
            return await _refuse(answer, *fault)
        return await self.app(scope, receive, answer)

    def _fault(self, method: str, headers: dict[str, str]) -> tuple[int, str] | None:
        if headers.get("host", "").lower() not in self.settings.hosts:
            return 421, (
                "This server does not answer to that name. It was started for "
                f"{self.settings.url}; another address is given to align collect serve as --url."
            )
        if method in SAFE_METHODS:
            return None
        if not self._is_ours(headers):
            return 403, "This did not come from one of our own pages. Open the page itself and try again."
        if headers.get("content-type", "").split(";")[0].strip().lower() != FORM:
            return 415, f"Only forms are taken here ({FORM})."
        if not _is_within(headers.get("content-length"), self.settings.body_limit):
            return 413, _too_long(self.settings.body_limit)
        return None

    def _is_ours(self, headers: dict[str, str]) -> bool:
        """The origin; where a browser leaves it out, what it says of the site instead. Neither is not enough."""
        if "origin" in headers:
            return headers["origin"].lower() in self.settings.origins
        return headers.get("sec-fetch-site") == "same-origin"

    async def _body(self, receive: Callable) -> tuple[bytes, tuple[int, str] | None]:
        """The whole body, within its size and time; a declared length may lie, so bytes are counted."""
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":  # a form that was cut off is no vote
                        return b"", (400, "The request broke off.")
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > self.settings.body_limit:
                        return b"", (413, _too_long(self.settings.body_limit))
                    if not message.get("more_body"):
                        return b"".join(chunks), None
        except TimeoutError:
            return b"", (408, "The request took too long to arrive.")


class Buckets:
    """Token buckets by key: `rate` requests a second on average, `burst` at once. Bounded, so that it cannot be filled up.

    Args:
        rate, burst: what one key may do. clock: seconds, monotonic.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._kept: OrderedDict[Any, tuple[float, float]] = OrderedDict()

    def wait(self, key: Any) -> float:
        """Takes one token: 0.0, or the seconds until there is one."""
        now = self.clock()
        left, since = self._kept.pop(key, (float(self.burst), now))
        left = min(float(self.burst), left + (now - since) * self.rate)
        taken = left - 1.0 if left >= 1.0 else left
        self._kept[key] = (taken, now)
        while len(self._kept) > KEPT_BUCKETS:
            self._kept.popitem(last=False)
        return 0.0 if left >= 1.0 else (1.0 - left) / self.rate


def _is_within(length: str | None, limit: int) -> bool:
    return length is None or (length.isascii() and length.isdigit() and int(length) <= limit)


def _too_long(limit: int) -> str:
    return f"This is longer than the {limit // 1024} KiB that are taken at once."


def _once(body: bytes) -> Callable:
    """An ASGI receive that gives a body that was read already, and then says that the client is gone."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict:
        return next(messages, {"type": "http.disconnect"})

    return receive


def _with_headers(send: Callable) -> Callable:
    async def answer(message: dict) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            ours = {"cache-control": "no-store", **HEADERS}
            added = [(name.encode(), value.encode()) for name, value in ours.items() if name.encode() not in given]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return answer


async def _refuse(send: Callable, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()),
               (b"connection", b"close")]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
