"""How long a connection may be silent, how slow it may be, and how long response headers may take."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from lftool.errors import FetchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STALL = "LFTOOL_STALL_SECONDS"
LEAST_RATE = "LFTOOL_LEAST_RATE"
HEADER = "LFTOOL_HEADER_SECONDS"
_DEFAULT_STALL, _DEFAULT_RATE, _DEFAULT_HEADER = 30.0, 1024.0, 60.0
RATE_SECONDS = 60.0  # period over which a rate is measured


def _number(name: str, default: float, what: str) -> float:
    text = os.environ.get(name)
    try:
        found = default if text is None else float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise UsageError(f"{name} must be a number of {what} above 0, not {text!r}")
    return found


def stall_seconds() -> float:
    """Return the seconds without a byte after which a connection is dropped: `LFTOOL_STALL_SECONDS`, or 30.

    Raises:
        UsageError: The variable is not a number above 0.
    """
    return _number(STALL, _DEFAULT_STALL, "seconds")


def least_rate() -> float:
    """Return the bytes per second, over a minute, below which a transfer is dropped: `LFTOOL_LEAST_RATE`, or 1024.

    Raises:
        UsageError: The variable is not a number above 0.
    """
    return _number(LEAST_RATE, _DEFAULT_RATE, "bytes a second")


def header_seconds() -> float:
    """Return the seconds within which response headers must arrive: `LFTOOL_HEADER_SECONDS`, or 60.

    Raises:
        UsageError: The variable is not a number above 0.
    """
    return _number(HEADER, _DEFAULT_HEADER, "seconds")


class Pace:
    """Checks that bytes arrive no slower than the least rate. Only time spent waiting for them counts.

    Args:
        what: What arrives, for messages.
        clock: Returns the time in seconds.
        seconds: Period over which the rate is measured, in seconds.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic, seconds: float = RATE_SECONDS) -> None:
        self._what = what
        self._clock = clock
        self._seconds = seconds
        self._least = least_rate()
        self._waited = 0.0
        self._bytes = 0

    def watch(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield pieces as they arrive.

        Raises:
            FetchError: Too few bytes arrived in the last minute. Retrying would not help: the server responds.
        """
        begun = self._clock()
        for piece in pieces:
            self._waited += self._clock() - begun
            self._bytes += len(piece)
            if self._waited >= self._seconds:
                self._check()
            yield piece
            begun = self._clock()

    def _check(self) -> None:
        if self._bytes < self._least * self._waited:
            raise FetchError(
                f"{self._what}: {self._bytes} bytes in {self._waited:.0f} s, fewer than {self._least:g} a second",
                hints=(f"if the server is this slow: {LEAST_RATE}=BYTES_A_SECOND",),
            )
        self._waited, self._bytes = 0.0, 0
