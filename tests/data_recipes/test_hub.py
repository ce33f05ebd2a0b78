"""Whether the hub answers, against servers on the loopback."""

import http.server
import socket
import threading

import pytest

from data_recipes import hub


@pytest.fixture(autouse=True)
def forget():
    hub.silence.cache_clear()
    yield
    hub.silence.cache_clear()


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_any_answer_is_an_answer(status):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert hub.silence(f"http://127.0.0.1:{server.server_port}") == ""


def test_a_refused_connection_is_named():
    assert "refused" in hub.silence(f"http://127.0.0.1:{closed_port()}")


def test_one_that_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(hub, "PATIENCE", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        assert hub.silence(f"http://127.0.0.1:{deaf.getsockname()[1]}")


def test_it_is_asked_once_and_not_at_all_when_switched_off(monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "_ask", lambda address: asked.append(address) or "down")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.closed() and not asked
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.test/")
    assert hub.closed() and hub.closed() and asked == ["http://mirror.test"]
