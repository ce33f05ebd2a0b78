"""Any OpenAI-compatible endpoint as a generator: POST ADDRESS/chat/completions.

Overload, errors of the server, time-outs, cut connections and garbage are tried again with growing pauses; what the
server refuses for its content is an answer too, and wrong addresses and keys end the work at once. The key is taken
from the environment when the client is made; it stands in no request's record, no log line and no error.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from data_recipes.augment.generator import Answer, Request, text_bound
from data_recipes.chat_text import THINK_BLOCK
from data_recipes.errors import AlignError, Failed, Refused
from data_recipes.files import sha256_text

AGAIN = {408, 409, 425, 429}  # and all from 500 on
CONTENT = {400, 413, 422}  # this question is refused; others may pass
SEED_BITS = 31  # some servers keep the seed in 32 bits
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Settings:
    """retries: sendings beyond the first. pause: seconds before the first of them, doubled each time. timeout: seconds
    without a byte. key_env: name of the environment variable that holds the key."""

    concurrency: int = 4
    retries: int = 5
    pause: float = 1.0
    timeout: float = 120.0
    key_env: str = ""


class _Again(Exception):
    """Worth another try; `after`: seconds that the server asked for."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.why, self.after = why, after


class Endpoint:
    """A generator behind HTTP.

    Args:
        url: `http(s)://HOST/v1#MODEL`; what stands after # is never part of an HTTP request's address.
        sleep: seconds -> whether to stop trying; replaced in tests.

    Raises:
        Refused: an address without model, with a password in it, or a key that the environment does not have.
    """

    def __init__(
        self, url: str, settings: Settings, *, sleep: Callable[[float], bool] | None = None
    ) -> None:
        self.settings, self._stop = settings, threading.Event()
        self.address, self.model = _parts(url)
        self.identity: dict[str, Any] = {
            "kind": "endpoint", "name": f"{self.address}#{self.model}", "address": self.address, "model": self.model,
        }
        self.sleep = sleep or self._stop.wait
        self._key = _key(settings.key_env)
        self._limit_field = "max_tokens"
        self._client: Any = None

    def complete(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]:
        """At most `concurrency` questions are on their way; an error or Ctrl-C lets those be answered before it is raised.

        Raises:
            Refused: a wrong address, model or key. Failed: question after question gets no answer.
        """
        source, flying, error, silent = enumerate(requests), {}, None, 0
        self._stop.clear()
        self._http()  # before there are threads that could make two
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            try:
                while True:
                    for number, request in islice(source, self.settings.concurrency - len(flying)) if not error else ():
                        flying[pool.submit(self._ask, request)] = number
                    if not flying:
                        break
                    done, error = self._next(flying, error)
                    for number, answer in done:
                        silent = silent + 1 if answer.lost else 0
                        yield number, answer
                    error = error or self._dead(silent, done)
            finally:
                self._stop.set()  # a pause before a retry ends at once
        if error:
            raise error

    def _next(self, flying: dict[Future, int], error: BaseException | None) -> tuple[list, BaseException | None]:
        """Waits for one or more answers; returns them by number, and the first error."""
        try:
            found, _ = wait(flying, return_when=FIRST_COMPLETED)
        except (KeyboardInterrupt, AlignError) as stopped:
            if error:  # a second Ctrl-C does not wait
                raise
            self._stop.set()
            return [], stopped
        done = []
        for future in sorted(found, key=flying.get):
            number = flying.pop(future)
            if failure := future.exception():
                error = error or failure
            else:
                done.append((number, future.result()))
        return done, error

    def _dead(self, silent: int, done: list) -> Failed | None:
        if silent < max(5, self.settings.concurrency):
            return None
        return Failed(
            f"{silent} questions after one another got no answer ({done[-1][1].lost})", where=self.address,
            do="What was answered is kept; the same command goes on when the endpoint is well again",
        )

    def _ask(self, request: Request) -> Answer:
        """One question, sent until it is answered or tried often enough."""
        for attempt in range(self.settings.retries + 1):
            try:
                return self._send(request, attempt + 1)
            except _Again as again:
                why = again.why
                pause = _pause(self.settings.pause, attempt, request, again.after)
            if attempt < self.settings.retries and self.sleep(pause):
                break
        return Answer(lost=why, attempts=attempt + 1)

    def _send(self, request: Request, attempt: int) -> Answer:
        import httpx

        field = self._limit_field
        try:
            reply = self._http().post(f"{self.address}/chat/completions", json=self._body(request, field))
        except httpx.RequestError as error:  # time-outs, refused and cut connections, broken HTTP and gzip
            raise _Again(type(error).__name__) from error
        if reply.status_code == 400 and field == "max_tokens" and "max_completion_tokens" in reply.text:
            self._limit_field = "max_completion_tokens"  # newer models of OpenAI's take only this name
            return self._send(request, attempt)
        if reply.status_code in AGAIN or reply.status_code >= 500:
            raise _Again(f"status {reply.status_code}", _retry_after(reply.headers.get("retry-after")))
        if reply.status_code in CONTENT:
            return Answer(refused=f"status {reply.status_code}: {self._said(reply)}", attempts=attempt)
        if reply.status_code != 200:
            raise self._refusal(reply)
        return _answer(reply, request, attempt)

    def _body(self, request: Request, limit_field: str) -> dict:
        how = request.sampling
        top_k = {"top_k": how.top_k} if how.top_k else {}  # not in OpenAI's own interface
        return {
            "model": self.model, "messages": list(request.messages), "temperature": how.temperature, "top_p": how.top_p,
            limit_field: how.max_new_tokens, "seed": request.seed % (1 << SEED_BITS), **top_k,
        }

    def _http(self) -> Any:
        """The client, made once; a local address never goes through a proxy of the environment's."""
        if self._client is None:
            import httpx

            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            local = is_loopback(self.address)
            self._client = httpx.Client(headers=headers, timeout=self.settings.timeout, trust_env=not local)
        return self._client

    def _said(self, reply: Any) -> str:
        """The beginning of a server's message; servers repeat keys in theirs."""
        text = " ".join(reply.text.split())[:300]
        return text.replace(self._key, "***") if self._key else text

    def _refusal(self, reply: Any) -> AlignError:
        status = reply.status_code
        if status in (401, 403):
            do = "Name the environment variable that holds the key with --key-env" if not self._key else "Check the key"
        else:
            do = "Check address and model; the address ends where /chat/completions begins"
        return Refused(f"the endpoint answers with status {status}: {self._said(reply)}", where=self.address, do=do)


def is_url(text: str) -> bool:
    """Whether a generator's name is an endpoint's."""
    return text.startswith(("http://", "https://"))


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name and no number
        return False


def _parts(url: str) -> tuple[str, str]:
    split = urlsplit(url)
    address, _, model = url.partition("#")
    address = address.rstrip("/").removesuffix("/chat/completions")
    if not split.hostname or not model:
        raise Refused("the endpoint's address or model is missing", where=address, expected="http(s)://HOST/v1#MODEL")
    if split.username or split.password or split.query:
        raise Refused("the address holds more than host and path", where=f"{split.scheme}://{split.hostname}",
                      expected="the key in an environment variable, named by --key-env")
    return address, model


def _key(name: str) -> str:
    if not name:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise Refused(f"the environment variable {name} is not set", where="--key-env", expected="the endpoint's key in it")
    return key


def _pause(first: float, attempt: int, request: Request, after: float | None) -> float:
    """Seconds: doubled each time, and spread by up to a half so that many clients do not come back at once."""
    spread = int(sha256_text(f"{request.seed}/{attempt}")[:4], 16) / 0xFFFF
    return min(LONGEST_PAUSE, max(first * 2**attempt * (1 + spread / 2), after or 0.0))


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds a number or a date (RFC 9110, section 10.2.3)."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass  # not a number, so it is read as a date
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # neither; our own pause will do
        return None


def _answer(reply: Any, request: Request, attempt: int) -> Answer:
    """The answer out of a reply of status 200; one that is not in the interface's shape is tried again."""
    try:
        found = reply.json()
        choice = found["choices"][0]
        text, finish = choice["message"].get("content") or "", choice.get("finish_reason")
        usage = found.get("usage") or {}
        counts = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        if not isinstance(text, str):
            raise TypeError("content is no text")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _Again(f"a reply that is no chat completion ({type(error).__name__})") from error
    # a server that counts nothing: the most that it can have been, so that a budget holds
    prompt = request.prompt_bound() if counts[0] is None else counts[0]
    made = min(text_bound(text), request.sampling.max_new_tokens) if counts[1] is None else counts[1]
    refused = "the server's content filter" if finish == "content_filter" else ""
    text = THINK_BLOCK.sub("", text, count=1)
    return Answer(text, finish != "length", prompt, made, refused=refused, attempts=attempt)


def _count(usage: dict, name: str) -> int | None:
    value = usage.get(name)
    return value if type(value) is int and value >= 0 else None
