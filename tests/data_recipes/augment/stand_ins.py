"""A generator that is a function, and an endpoint on the loopback whose failures are planned."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from data_recipes.augment.generator import Answer

GARBAGE, CUT, STALL = "garbage", "cut", "stall"


class Scripted:
    """Answers by a function of the request; counts what it was asked."""

    def __init__(self, answer: Callable, name: str = "scripted") -> None:
        self.identity = {"kind": "scripted", "name": name}
        self.answer, self.asked = answer, []

    def complete(self, requests) -> Iterator[tuple[int, Answer]]:
        for number, request in enumerate(requests):
            self.asked.append(request)
            said = self.answer(request)
            yield number, said if isinstance(said, Answer) else Answer(said, True, 10, len(said.split()))


class Server:
    """An OpenAI-compatible endpoint.

    reply: body of a request -> text, or (status, body, headers), or GARBAGE, CUT or STALL. Seen: bodies in order;
    answered: how often each conversation got its text; keys: Authorization headers.
    """

    def __init__(self, reply: Callable[[dict], object]) -> None:
        self.reply, self.seen, self.answered, self.keys = reply, [], Counter(), []
        self.lock, self.released, self.most_at_once, self.at_once = threading.Lock(), threading.Event(), 0, 0

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.seen.append(body)
            self.keys.append(handler.headers.get("Authorization"))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self._send(handler, body, self.reply(body))
        finally:
            with self.lock:
                self.at_once -= 1

    def _send(self, handler: BaseHTTPRequestHandler, body: dict, said: object) -> None:
        if said == STALL:
            self.released.wait(20)
            handler.close_connection = True
            return
        if said == CUT:
            write(handler, 200, b'{"choices": [{"mess', length=4000)
            handler.close_connection = True
            return
        if said == GARBAGE:
            write(handler, 200, b"<html>busy</html>")
            return
        if isinstance(said, tuple):
            write(handler, said[0], said[1].encode(), headers=said[2] if len(said) > 2 else {})
            return
        write(handler, 200, json.dumps(completion(said)).encode())
        with self.lock:
            self.answered[json.dumps(body["messages"])] += 1


def completion(text: str, finish: str = "stop") -> dict:
    """The body of a reply."""
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}],
            "usage": {"prompt_tokens": 7, "completion_tokens": len(text.split())}}


def write(handler: BaseHTTPRequestHandler, status: int, data: bytes, *, length: int | None = None, headers=None) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(length or len(data)))
    handler.end_headers()
    handler.wfile.write(data)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        """A client that was killed or did not wait is what these tests are about."""


@contextlib.contextmanager
def serving(reply: Callable[[dict], object]) -> Iterator[tuple[str, Server]]:
    """(`http://127.0.0.1:PORT/v1#tiny`, server) while the block runs."""
    server = Server(reply)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802  (the name that http.server calls)
            server.handle(self)

        def log_message(self, *_: object) -> None:
            """Silence."""

    listening = _Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1#tiny", server
    finally:
        server.released.set()
        listening.shutdown()
        listening.server_close()
