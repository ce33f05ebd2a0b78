"""Serves a collection by uvicorn: the socket first, so that nothing is printed that does not answer; then the links."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_recipes.collect.web.settings import Settings
from data_recipes.errors import Interrupted, Refused

STOP_SECONDS = 10  # for requests under way, after the first signal
MOST_AT_ONCE = 512  # connections; more are answered with 503
IDLE_SECONDS = 20


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Refused where the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by name: asyncio switches Nagle's waiting (40 ms a reply) off only where it is named.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(256)
    except OSError as error:
        made.close()
        raise Refused(
            f"cannot listen on {host}, port {port}: {error.strerror or error}", where="--port",
            do="Choose another --port, or stop what listens there.",
        ) from error  # fmt: skip
    return made


def check_tls(cert: str | None, key: str | None) -> None:
    """Refuses a certificate and key that do not fit, before anything is served."""
    if bool(cert) != bool(key):
        raise Refused("a certificate and its key belong together", where="--tls-cert, --tls-key", expected="both or neither")
    if not (cert and key):
        return
    for option, path in (("--tls-cert", cert), ("--tls-key", key)):
        if not Path(path).is_file():
            raise Refused(f"there is no file {path}", where=option, expected="a file in PEM form")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise Refused(
            f"certificate and key cannot be used ({error})", where="--tls-cert, --tls-key",
            expected="two files in PEM form that belong together, the key without a password",
        ) from error  # fmt: skip


def links(store: Any, settings: Settings) -> list[dict[str, str]]:
    """A link for everybody who takes part, leads first. Earlier links hold too; `invite` ends them.

    Returns:
        [{"name", "role", "link"}, ...]; judges, which are models, have none.
    """
    people = [person for person in store.annotators() if person.active and person.role != "judge"]
    people.sort(key=lambda person: person.role != "lead")
    tokens = [store.new_token(person.name, ends_old=False) for person in people]
    return [
        {"name": person.name, "role": person.role, "link": f"{settings.url}/join/{token}"}
        for person, token in zip(people, tokens, strict=True)
    ]


@contextlib.contextmanager
def ended_by_signal() -> Iterator[None]:
    """A signal ends the block without an error: for a server that is how it ends. uvicorn finishes what is under way first
    and then raises the signal again."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        return


def serve(store: Any, settings: Settings, listening: socket.socket, cert: str | None = None, key: str | None = None) -> None:
    """Serves until SIGINT or SIGTERM; requests under way are finished first, then the signal is raised again.

    Args:
        store: an open collection. listening: from `open_socket`. cert, key: PEM files, for TLS.
    """
    import uvicorn

    from data_recipes.collect.web.app import make_app

    config = uvicorn.Config(
        make_app(store, settings), log_level="warning", access_log=False,  # a link's secret is in its address
        proxy_headers=settings.behind_proxy, forwarded_allow_ips="*" if settings.behind_proxy else "",
        server_header=False, date_header=True, ssl_certfile=cert, ssl_keyfile=key, lifespan="on", ws="none",
        limit_concurrency=MOST_AT_ONCE, timeout_keep_alive=IDLE_SECONDS, timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=64 * 1024,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])
