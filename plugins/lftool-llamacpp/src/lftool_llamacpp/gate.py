"""Who may ask a server without a key: this machine, and pages that it serves itself; the rules of native/gate.cpp."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lftool.api.http import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REFUSAL = (
    "without an API key, only this machine and its own pages may ask; set LLAMA_API_KEY, or --insecure if that is meant"
)


_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?\Z")


def _names_this_machine(host: str) -> bool:
    """Tell whether a header Host, or what stands behind a scheme in Origin, means this machine; anything odd does not."""
    match = _HOST.match(host)
    return match is not None and is_loopback(match["six"] or match["name"])


def is_from_elsewhere(hosts: Sequence[str], origins: Sequence[str]) -> bool:
    """Return whether a request comes from a page of another site, or by another name of this machine.

    Browsers say both: a page of anybody's could ask otherwise, and a name of anybody's may lead here.

    Args:
        hosts: Every header Host; a request has one at most.
        origins: Every header Origin, as it came.
    """
    if len(hosts) > 1 or len(origins) > 1:
        return True
    if hosts and hosts[0] and not _names_this_machine(hosts[0]):
        return True
    if origins and origins[0]:
        scheme, separator, rest = origins[0].partition("://")
        return scheme not in {"http", "https"} or not separator or not _names_this_machine(rest)
    return False


def is_allowed(given: Sequence[str], key: str | None, equal: Callable[[bytes, bytes], bool]) -> bool:
    """Return whether a request carries the key: one header Authorization, the scheme in any case (RFC 9110 §11.1).

    Args:
        given: Every header Authorization.
        key: What clients must send; None for no key.
        equal: Compares without telling by its time where two values differ.
    """
    if key is None:
        return True
    if len(given) != 1:
        return False
    scheme, _, token = given[0].partition(" ")
    return scheme.lower() == "bearer" and equal(token.strip(" ").encode("latin-1"), key.encode())
