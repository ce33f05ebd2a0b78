"""Where the page is served and to whom: decided once, before a socket is opened, and refused where it is not safe."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from data_recipes.errors import Refused

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
PORT = 8765


@dataclass(frozen=True, slots=True)
class Settings:
    """What the application needs to know of its surroundings.

    url: where people reach it, without a trailing slash. hosts: the Host headers it answers to, port and all.
    behind_proxy: a proxy in front speaks TLS; its X-Forwarded headers are believed. body_limit: bytes a request.
    body_seconds: how long a body may take to arrive. join_rate, page_rate: (requests a second, burst) for an address
    without a session and for a session.
    """

    url: str = f"http://127.0.0.1:{PORT}"
    hosts: frozenset[str] = frozenset({f"127.0.0.1:{PORT}", f"localhost:{PORT}"})
    behind_proxy: bool = False
    body_limit: int = 2 * 1024 * 1024
    body_seconds: float = 20.0
    join_rate: tuple[float, int] = (1.0, 60)
    page_rate: tuple[float, int] = (20.0, 120)

    @property
    def origins(self) -> frozenset[str]:
        """What a browser on our own pages sends as its origin."""
        schemes = ("http", "https") if self.behind_proxy else (urlsplit(self.url).scheme,)
        return frozenset(f"{scheme}://{host}" for scheme in schemes for host in self.hosts)


def plan(host: str, port: int, *, behind_proxy: bool = False, tls: bool = False, url: str | None = None) -> Settings:
    """Settings for one address, or a refusal.

    Args:
        host: address or name to listen on. port: TCP port, known (not 0).
        behind_proxy: a proxy in front speaks TLS. tls: we speak it ourselves.
        url: where people reach the page, where that is not scheme://host:port.

    Raises:
        Refused: another address than loopback without TLS or proxy; an address that says nothing of where people go.
    """
    if not is_loopback(host) and not (tls or behind_proxy):
        raise Refused(
            f"{host} can be reached from other machines, and without TLS everybody on the way could read and vote",
            where="--host",
            expected="a loopback address such as 127.0.0.1",
            do="Give --tls-cert and --tls-key, or --behind-proxy where a proxy speaks TLS (docs/collect-serving.md)",
        )
    scheme = "https" if tls else "http"
    shown = url.rstrip("/") if url else f"{scheme}://{_netloc(_name_to_show(host), port, scheme)}"
    parts = urlsplit(shown)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        raise Refused(f"{url!r} is no address of a page", where="--url", expected="such as https://votes.example.org")
    names = {_bracketed(_name_to_show(host)), *(LOOPBACK_NAMES if _listens_on_loopback(host) else ())}
    hosts = {_netloc(name, port, scheme) for name in names} | {f"{name}:{port}" for name in names} | _spellings(parts)
    return Settings(url=shown, hosts=frozenset(name.lower() for name in hosts), behind_proxy=behind_proxy)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name counts as what it resolves to; all of it must be loopback.

    Raises:
        Refused: a name that resolves to nothing.
    """
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise Refused(f"{host} is no address of this machine ({error})", where="--host") from error
    return all(ipaddress.ip_address(address.split("%")[0]).is_loopback for address in found)


def _listens_on_loopback(host: str) -> bool:
    return host in ("0.0.0.0", "::", "") or is_loopback(host)


def _name_to_show(host: str) -> str:
    """An address that means all of them is shown as this machine's name."""
    return socket.gethostname() if host in ("0.0.0.0", "::", "") else host


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _netloc(name: str, port: int, scheme: str) -> str:
    usual = {"http": 80, "https": 443}[scheme]
    return _bracketed(name) if port == usual else f"{_bracketed(name)}:{port}"


def _spellings(parts) -> set[str]:
    """The Host headers of an address: with its port, and without where it is the usual one."""
    usual = {"http": 80, "https": 443}[parts.scheme]
    name, port = _bracketed(parts.hostname), parts.port or usual
    return {f"{name}:{port}", *([name] if port == usual else [])}
