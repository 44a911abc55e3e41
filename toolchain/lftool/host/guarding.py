"""The boundary to plugin code: whatever a plugin raises comes out as an error that names the plugin."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from lftool.errors import LftoolError, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lftool.host.origin import Origin

_WAIT_SECONDS = 30.0  # then people are told whom they wait for

_inside = threading.local()  # how many guards a thread is in
_real_exit = os._exit
_process = os.getpid()


def plugin_failure(origin: Origin, error: BaseException, what: str = "") -> PluginError:
    """Return the error that names the plugin behind `error`, and what of it was at work."""
    where = f", {what}," if what else ""
    return PluginError(
        f"{origin}{where} failed: {type(error).__name__}: {error}", hints=("where in the plugin: lftool --traceback …",)
    )


def checked_pieces(pieces: Iterator[bytes], origin: Origin) -> Iterator[bytes]:
    """Yield what a plugin's `open` gave, inside the guard: a generator fails while it is consumed, not when it is called.

    Raises:
        PluginError: The plugin failed, or gave something else than bytes.
    """
    with guarded(origin):
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError(
                    f"open() yielded {type(piece).__name__}, not bytes: its context manager gives an iterator of bytes"
                )
            yield piece


def _depth() -> list[int]:
    """Return how many guards this thread is in, as the one number of a list."""
    found: list[int] = _inside.__dict__.setdefault("depth", [0])
    return found


def _exit(status: int) -> NoReturn:
    """Stand in for `os._exit`: a plugin may not end the build, least of all with the status of success."""
    if _depth()[0] and os.getpid() == _process:  # a child that it forked may
        raise SystemExit(f"os._exit({status})")
    _real_exit(status)


@contextlib.contextmanager
def guarded(origin: Origin, what: str = "") -> Iterator[None]:
    """Attribute what plugin code inside the block raises; errors that are meant for users pass as they are.

    Wrap the consumption of a plugin's iterator, not only the call that makes it: a generator fails while it is consumed.

    Args:
        origin: The plugin.
        what: What of it is at work, such as `check 'polite'`; nothing where it offers one thing only.

    Raises:
        PluginError: The plugin raised something else than an LftoolError, or would have ended the process.
    """
    try:
        with not_ending():
            yield
    except LftoolError:
        raise
    except (Exception, SystemExit) as error:
        raise plugin_failure(origin, error, what) from error


@contextlib.contextmanager
def not_ending() -> Iterator[None]:
    """Have `os._exit` raise SystemExit in this thread during the block."""
    os._exit = _exit  # the only way to notice it
    depth = _depth()
    depth[0] += 1
    try:
        yield
    finally:
        depth[0] -= 1  # of the thread that came in: a generator that nobody ended is ended by any


class _Watch:
    """Says whom a person waits for. One thread for all: starting one for each plugin takes longer than most plugins do."""

    def __init__(self) -> None:
        self._waits: dict[object, tuple[float, Callable[[str], None], str]] = {}
        self._lock = threading.Lock()
        self._started = False

    def begin(self, say: Callable[[str], None], text: str) -> object:
        """Begin to wait, and return what ends it."""
        token = object()
        with self._lock:
            self._waits[token] = (time.monotonic() + _WAIT_SECONDS, say, text)
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, daemon=True).start()
        return token

    def end(self, token: object) -> None:
        """End a wait; nothing is said any more."""
        with self._lock:
            self._waits.pop(token, None)

    def _run(self) -> None:
        while True:
            time.sleep(min(1.0, _WAIT_SECONDS / 4))
            with self._lock:
                now = time.monotonic()
                late = [token for token, (until, _, _) in self._waits.items() if until <= now]
                told = [self._waits.pop(token) for token in late]
            for _, say, text in told:
                say(text)


_watch = _Watch()


@contextlib.contextmanager
def awaited(origin: Origin, what: str, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Say whom a person waits for, should the block take longer than half a minute.

    Args:
        origin: The plugin.
        what: What it is doing, such as `resolving source 'base'`.
        tell: Gets the sentence; by default it is logged as a warning.
    """
    text = f"{origin} has been {what} for {_WAIT_SECONDS:g} seconds; Ctrl-C ends it"
    say = tell or logging.getLogger("lftool").warning
    token = _watch.begin(say, text)
    try:
        yield
    finally:
        _watch.end(token)
