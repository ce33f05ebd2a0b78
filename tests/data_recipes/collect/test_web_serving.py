"""`align collect serve`: where it listens, what it refuses, TLS, links, and an end that loses nothing."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import time

import pytest

from alignment.cli import run
from data_recipes.collect.web.settings import is_loopback, plan
from data_recipes.errors import Refused
from tests.data_recipes.collect import web_world as world
from tests.data_recipes.collect.browser import Served, served


@pytest.fixture
def path(tmp_path):
    world.collection(tmp_path / "votes.db").close()
    return tmp_path / "votes.db"


# ----------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_loopback_needs_nothing(host):
    assert is_loopback(host) and plan(host, 8765).url.startswith("http://")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_other_addresses_need_tls_or_a_proxy(host):
    with pytest.raises(Refused, match="without TLS"):
        plan(host, 8765)
    assert plan(host, 8765, tls=True).url.startswith("https://")
    assert plan(host, 8765, behind_proxy=True).behind_proxy


def test_hosts_and_origins_are_those_of_the_url_and_of_this_machine():
    settings = plan("127.0.0.1", 8765, behind_proxy=True, url="https://Votes.example.org/")
    assert settings.url == "https://Votes.example.org"
    assert {"votes.example.org", "votes.example.org:443", "127.0.0.1:8765", "localhost:8765"} <= settings.hosts
    assert "https://votes.example.org" in settings.origins
    usual = plan("127.0.0.1", 80)
    assert {"127.0.0.1", "127.0.0.1:80"} <= usual.hosts and usual.url == "http://127.0.0.1"
    assert "http://[::1]:9" in plan("::1", 9).origins


@pytest.mark.parametrize("url", ["votes.example.org", "ftp://x", "https://", "https://x.example/path", "javascript:alert(1)"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(Refused, match="--url"):
        plan("127.0.0.1", 8765, url=url)


def test_nothing_that_trains_is_imported():
    said = "import sys, data_recipes.collect.web.app, data_recipes.collect.web.serving; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout.split()
    assert "starlette" in loaded and not {"torch", "transformers", "datasets", "pandas", "sklearn"} & set(loaded)


# --------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("options, said", [
    (["--host", "0.0.0.0"], "without TLS"), (["--tls-cert", "x.pem"], "belong together"),
    (["--tls-cert", "x.pem", "--tls-key", "y.pem"], "no file x.pem"), (["--url", "nowhere"], "no address of a page"),
    (["--host", "no.such.host.invalid"], "no address of this machine"), (["--port", "70000"], "70000"),
])  # fmt: skip
def test_what_is_refused_is_one_paragraph_and_code_two(path, capsys, options, said):
    assert run(["collect", "serve", str(path), *options]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.startswith("error: ") and not told.out and "Traceback" not in told.err


def test_a_port_that_is_taken_is_said(path, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert run(["collect", "serve", str(path), "--port", str(other.getsockname()[1])]) == 2
    assert "cannot listen" in capsys.readouterr().err


@pytest.mark.parametrize("content, said", [(None, "no such collection"), (b"text", "damaged")])
def test_a_file_that_is_no_collection_is_said(tmp_path, capsys, content, said):
    target = tmp_path / "other.db"
    if content is not None:
        target.write_bytes(content)
    assert run(["collect", "serve", str(target), "--port", "0"]) == 2
    assert said in capsys.readouterr().err


def test_links_of_every_start_hold_and_a_signal_ends_it_with_code_zero(path):
    server = Served(path).read_links(3)
    assert list(server.links) == ["lead", "ana", "ben"]
    old = server.links["ana"]
    assert server.stop() == 0 and "0 votes are kept" in server.said()
    with served(path) as again:
        for link in (old, again.links["ana"]):
            assert join(again.url, link.rpartition("/")[2]) == 303
        assert join(again.url, "wrong") == 403


def join(url: str, token: str, context: ssl.SSLContext | None = None, cookie: list | None = None) -> int:
    """Presses a link's button; the status."""
    scheme, _, netloc = url.partition("://")
    tls = scheme == "https"
    connect = http.client.HTTPSConnection(netloc, context=context) if tls else http.client.HTTPConnection(netloc)
    form = {"content-type": "application/x-www-form-urlencoded", "origin": url}
    connect.request("POST", "/join", f"link={token}", form)
    response = connect.getresponse()
    if cookie is not None:
        cookie.append(response.headers["set-cookie"])
    connect.close()
    return response.status


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate with")
def test_it_speaks_tls_itself(path, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    asked = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", names]
    subprocess.run(["openssl", "req", "-x509", *asked, "-keyout", key, "-out", cert], check=True, capture_output=True)
    with served(path, 3, "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        cookie: list[str] = []
        assert server.url.startswith("https://127.0.0.1:")
        token = server.links["ana"].rpartition("/")[2]
        assert join(server.url, token, ssl.create_default_context(cafile=cert), cookie) == 303
        assert "; secure" in cookie[0].lower()


def test_with_json_the_document_comes_at_the_end(path):
    server = Served(path, "--json")
    end = time.monotonic() + 30
    while "Ctrl-C stops" not in server.said() and time.monotonic() < end:
        time.sleep(0.05)
    server.process.terminate()
    document = json.loads(server.process.communicate(timeout=30)[0])
    assert [row["name"] for row in document["links"]] == ["lead", "ana", "ben"] and document["votes"] == 0
