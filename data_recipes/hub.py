"""Whether the hub may be asked, and whether it answers. Light: no library of the hub's is imported.

Its own client tries each file six times with pauses: without a network that is half a minute a file, a minute and a half for
a model. Here one request is made first, once a process.
"""

from __future__ import annotations

import functools
import os
import ssl
import threading
import urllib.error
import urllib.request

OFFLINE = "HF_HUB_OFFLINE"
found_silent: set[str] = set()  # addresses for which this process was switched off here, not by the user
PATIENCE = 4.0  # seconds for name, connection and answer together


def switched_off() -> bool:
    """Whether the user has switched the hub off."""
    return os.environ.get(OFFLINE, "").lower() in {"1", "true", "yes", "on"}


def endpoint() -> str:
    """The hub's address; `HF_ENDPOINT` names a mirror."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def closed() -> str:
    """Why only what is in the local cache can be had: the hub is switched off, or gives no answer. Empty where it can be asked.

    Where it gives no answer it is switched off for this process: the libraries, which read that when they are imported, would
    otherwise try again and again, PEFT at each checkpoint.
    """
    address = endpoint()
    if switched_off() and address not in found_silent:
        return f"the hub is switched off by {OFFLINE}"
    reason = silence(address)
    if not reason:
        return ""
    found_silent.add(address)
    os.environ[OFFLINE] = "1"
    return f"{address} gives no answer ({reason})"


@functools.cache
def silence(address: str) -> str:
    """Why `address` gives no answer; empty where it does, whatever the answer is.

    Nothing but a failed connection counts: what a proxy, a certificate or a status code has to say is for the hub's client.
    """
    said: list[str] = []
    # in a thread, since looking a name up knows no time limit
    asking = threading.Thread(target=lambda: said.append(_ask(address)), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return said[0] if said else f"no answer within {PATIENCE:.0f} seconds"


def _ask(address: str) -> str:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return "" if isinstance(reason, ssl.SSLError) else str(reason)
    return ""
