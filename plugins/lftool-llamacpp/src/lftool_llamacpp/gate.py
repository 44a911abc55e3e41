"""Who may ask a server without a key: this machine, and pages that it serves itself; the rules of native/gate.cpp."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

REFUSAL = (
    "without an API key, only this machine and its own pages may ask; set LLAMA_API_KEY, or --insecure if that is meant"
)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address: one of 127.0.0.0/8, ::1, or the name localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_from_elsewhere(host: str, origin: str) -> bool:
    """Return whether a request comes from a page of another site, or by another name of this machine.

    Browsers say both: a page of anybody's could ask otherwise, and a name of anybody's may lead here.

    Args:
        host: The header Host; empty where there is none.
        origin: The header Origin; likewise.
    """
    try:
        asked = urlsplit(f"//{host}").hostname
        page = urlsplit(origin).hostname
    except ValueError:
        return True
    return bool((host and not is_loopback(asked or "")) or (origin and not is_loopback(page or "")))
