"""Where a server listens: who may come in, with which key, and whether somebody listens there already."""

from __future__ import annotations

import errno
import socket

from lftool.api.http import is_loopback
from lftool.errors import StorageError, UsageError


def require_key(host: str, key: str | None, *, insecure: bool) -> None:
    """Raise UsageError for a key that clients could not send, or where other machines could come in without one.

    Args:
        host: Address to listen on.
        key: What clients must send; None or empty for nothing.
        insecure: Whether others may come in without a key.
    """
    if key and not all("!" <= letter <= "~" and letter != "," for letter in key):
        raise UsageError("an API key has no spaces, commas, or letters outside ASCII: clients could not send it")
    if not is_loopback(host) and not key and not insecure:
        raise UsageError(
            f"serving on {host} lets other machines in, and there is no key",
            hints=("set LLAMA_API_KEY to what clients must send, or give --insecure if that is meant",),
        )


def require_free(host: str, port: int) -> None:
    """Raise StorageError if nobody can listen there: servers say it late, and each in its own way."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        hints = ("give another port: --port N",) if error.errno == errno.EADDRINUSE else ()
        raise StorageError(f"cannot listen on {host}, port {port}: {error.strerror}", hints=hints) from error
