"""Checks take turns: only one runs at a time, and what it needs from the bundle is provided while it waits.

A bundle is served for answers or for vectors, never for both, so a check that needs vectors is suspended until the
others have their answers. A check is plain code that calls and gets a result; its own thread lets it wait midway.
Only the check itself runs on that thread, so that an interrupt finds servers and child processes in the main thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from attrs import frozen


class GivenUpError(Exception):
    """The request of a check will not be fulfilled."""


@frozen
class Want:
    """A request of a check: what to serve for it, and what to do then."""

    served: str
    do: Callable[[], Any]


class Turn:
    """A check in progress.

    Attributes:
        want: The request that it waits for; None before it starts and after it ends.
        seconds: Time for the check and its requests, without the time that it was suspended.
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
        """Run it until it ends or requests something. May raise whatever it raises."""
        started = time.monotonic()
        self._thread.start()
        self._await(started)

    def go_on(self) -> None:
        """Fulfil its request, pass it the result, and let it continue. May raise whatever it raises."""
        started = time.monotonic()
        assert self.want is not None  # noqa: S101 - the caller has checked
        try:
            self._given = self.want.do()
        except Exception as error:  # noqa: BLE001 - passed to the check, which may handle it
            self._given = error
        self._mine.release()
        self._await(started)

    def _await(self, started: float) -> None:
        self._theirs.acquire()
        self.seconds += time.monotonic() - started
        if self._error is not None:
            raise self._error

    def have(self, want: Want) -> Any:  # noqa: ANN401 - of what is wanted
        """Return the result of a request; called by the check. May raise whatever fulfilling it raises."""
        self.want = want
        self._theirs.release()
        self._mine.acquire()
        if isinstance(self._given, BaseException):
            raise self._given
        self.want = None
        return self._given

    def give_up(self) -> None:
        """End it, if it is waiting."""
        if self.want is not None:
            self._given = GivenUpError()
            self._mine.release()

    def _run(self) -> None:
        try:
            self._work(self)
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            self._error = error
        finally:
            self.want = None
            self._theirs.release()
