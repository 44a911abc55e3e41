"""Check a listening address: who may connect, with which key, and whether the port is free."""

from __future__ import annotations

import errno
import socket

from lftool.api.http import is_loopback
from lftool.errors import StorageError, UsageError


def require_key(host: str, key: str | None, *, insecure: bool) -> None:
    """Raise UsageError if clients cannot send the key, or if other machines could connect without one.

    Args:
        host: Address to listen on.
        key: The key that clients must send; None or empty for no key.
        insecure: Whether other machines may connect without a key.
    """
    if key and not all("!" <= letter <= "~" and letter != "," for letter in key):
        raise UsageError("an API key has no spaces, commas, or letters outside ASCII: clients could not send it")
    if not is_loopback(host) and not key and not insecure:
        raise UsageError(
            f"serving on {host} lets other machines in, but no API key is set",
            hints=("set LLAMA_API_KEY to what clients must send, or use --insecure to serve without a key",),
        )


def require_free(host: str, port: int) -> None:
    """Raise StorageError if the port cannot be used; servers report that late, and each in a different way."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        hints = ("give another port: --port N",) if error.errno == errno.EADDRINUSE else ()
        raise StorageError(f"cannot listen on {host}, port {port}: {error.strerror}", hints=hints) from error
