"""How long a connection may be silent."""

from __future__ import annotations

import os

from lftool.errors import UsageError

STALL = "LFTOOL_STALL_SECONDS"
_DEFAULT = 30.0


def stall_seconds() -> float:
    """Return the seconds without a byte after which a connection is given up: `LFTOOL_STALL_SECONDS`, or 30.

    Raises:
        UsageError: The variable holds no number above 0.
    """
    text = os.environ.get(STALL)
    try:
        seconds = _DEFAULT if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{STALL} must be a number of seconds above 0, not {text!r}")
    return seconds
