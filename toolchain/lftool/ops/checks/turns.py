"""Checks take turns: one works at a time, and whatever it wants of the bundle is done for it while it waits.

A bundle is served for answers or for vectors, not for both at once, so a check that wants vectors is laid aside until the
others have had their answers. A check is plain code that calls and gets a result: a thread of its own lets it wait midway.
Nothing but the check itself runs in that thread, so that an interrupt finds servers and child processes in the main one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from attrs import frozen


class GivenUpError(Exception):
    """Nobody will do what a check wants."""


@frozen
class Want:
    """What a check waits for: what must be served for it, and what to do then."""

    served: str
    do: Callable[[], Any]


class Turn:
    """A check in progress.

    Attributes:
        want: What it waits for; None before it has begun and once it has ended.
        seconds: How long it and what it wanted have taken, without the time that it was laid aside.
    """

    def __init__(self, work: Callable[[Turn], None]) -> None:
        self.want: Want | None = None
        self.seconds = 0.0
        self._work = work
        self._given: Any = None
        self._error: BaseException | None = None
        self._mine, self._theirs = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        """Have it work until it ends or wants something. May raise whatever it raises."""
        started = time.monotonic()
        self._thread.start()
        self._await(started)

    def go_on(self) -> None:
        """Do what it wants, give it what came of that, and have it work on. May raise whatever it raises."""
        started = time.monotonic()
        assert self.want is not None  # noqa: S101 - who calls has looked
        try:
            self._given = self.want.do()
        except Exception as error:  # noqa: BLE001 - the check hears of it, and may know what to do
            self._given = error
        self._mine.release()
        self._await(started)

    def _await(self, started: float) -> None:
        self._theirs.acquire()
        self.seconds += time.monotonic() - started
        if self._error is not None:
            raise self._error

    def have(self, want: Want) -> Any:  # noqa: ANN401 - of what is wanted
        """Return what came of a want; called by the check. May raise what doing it raises."""
        self.want = want
        self._theirs.release()
        self._mine.acquire()
        if isinstance(self._given, BaseException):
            raise self._given
        self.want = None
        return self._given

    def give_up(self) -> None:
        """Have it end, should it wait."""
        if self.want is not None:
            self._given = GivenUpError()
            self._mine.release()

    def _run(self) -> None:
        try:
            self._work(self)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
            self._error = error
        finally:
            self.want = None
            self._theirs.release()
