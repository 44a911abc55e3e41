"""Ctrl-C: the first one winds the work up; more of them must not break into that, nor be without effect for ever."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_PATIENCE = 3.0  # seconds in which work that was interrupted should have ended


class _Interrupts:
    """Handler of SIGINT."""

    def __init__(self) -> None:
        self._first: float | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt once; end the process at once when somebody has lost patience."""
        if self._first is None:
            self._first = time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._first > _PATIENCE:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


@contextlib.contextmanager
def one_interrupt() -> Iterator[None]:
    """Return a context in which KeyboardInterrupt comes once, whatever number of signals do.

    A second one would leave threads behind that still write. Where a program has a handler of its own, that one stays.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _Interrupts())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
