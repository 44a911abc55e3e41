"""The boundary to plugin code: an exception from a plugin becomes an error that names the plugin."""

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

_WAIT_SECONDS = 30.0  # then lftool reports what it is waiting for

_inside = threading.local()  # number of guards that a thread is in
_real_exit = os._exit
_process = os.getpid()


def plugin_failure(origin: Origin, error: BaseException, what: str = "") -> PluginError:
    """Return an error that names the plugin behind `error`, and the part of it that was running."""
    where = f", {what}," if what else ""
    return PluginError(
        f"{origin}{where} failed: {type(error).__name__}: {error}", hints=("where in the plugin: lftool --traceback …",)
    )


def checked_pieces(pieces: Iterator[bytes], origin: Origin) -> Iterator[bytes]:
    """Yield pieces from a plugin's `open` inside the guard: a generator fails when consumed, not when called.

    Raises:
        PluginError: The plugin failed, or yielded something other than bytes.
    """
    with guarded(origin):
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError(
                    f"open() yielded {type(piece).__name__}, not bytes: its context manager gives an iterator of bytes"
                )
            yield piece


def _depth() -> list[int]:
    """Return the number of guards that this thread is in, as a list of one number."""
    found: list[int] = _inside.__dict__.setdefault("depth", [0])
    return found


def _exit(status: int) -> NoReturn:
    """Replacement for `os._exit`: a plugin must not end the build, least of all with a success status."""
    if _depth()[0] and os.getpid() == _process:  # a child that the plugin forked may exit
        raise SystemExit(f"os._exit({status})")
    _real_exit(status)


@contextlib.contextmanager
def guarded(origin: Origin, what: str = "") -> Iterator[None]:
    """Attribute exceptions from plugin code in the block to the plugin; errors meant for users pass unchanged.

    Wrap the consumption of a plugin's iterator, not only the call that creates it: a generator fails when consumed.

    Args:
        origin: The plugin.
        what: The part of the plugin that is running, such as `check 'polite'`; empty if it has only one.

    Raises:
        PluginError: The plugin raised something other than an LftoolError, or tried to end the process.
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
    """Make `os._exit` raise SystemExit in this thread during the block, and a panic an exception like others.

    Raises:
        RuntimeError: Something was raised that is neither an Exception nor an interrupt: what a panic in Rust becomes.
    """
    os._exit = _exit  # the only way to intercept it
    depth = _depth()
    depth[0] += 1
    try:
        yield
    except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    finally:
        depth[0] -= 1  # of the thread that entered: an unfinished generator may be closed by any thread


class _Watch:
    """Reports which plugin is being waited for. All waits share a thread: starting one is slower than most plugins."""

    def __init__(self) -> None:
        self._waits: dict[object, tuple[float, Callable[[str], None], str]] = {}
        self._lock = threading.Lock()
        self._started = False

    def begin(self, say: Callable[[str], None], text: str) -> object:
        """Start a wait, and return the token that ends it."""
        token = object()
        with self._lock:
            self._waits[token] = (time.monotonic() + _WAIT_SECONDS, say, text)
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, daemon=True).start()
        return token

    def end(self, token: object) -> None:
        """End a wait, so that nothing more is reported."""
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
    """Report which plugin is being waited for, if the block takes longer than half a minute.

    Args:
        origin: The plugin.
        what: What it is doing, such as `resolving source 'base'`.
        tell: Receives the message; by default it is logged as a warning.
    """
    text = f"{origin} has been {what} for {_WAIT_SECONDS:g} seconds; Ctrl-C ends it"
    say = tell or logging.getLogger("lftool").warning
    token = _watch.begin(say, text)
    try:
        yield
    finally:
        _watch.end(token)
