"""Advisory locks: they save duplicate work between processes. A file system that ignores them breaks nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def _locked(handle: int, mode: int, pulse: Callable[[], None] | None) -> bool:
    while True:
        try:
            fcntl.flock(handle, mode if pulse is None else mode | fcntl.LOCK_NB)
        except BlockingIOError:
            if pulse is None:
                return False
            pulse()
        except OSError:
            return False
        else:
            return True


@contextlib.contextmanager
def advisory_lock(
    path: Path, *, shared: bool = False, wait: bool = True, pulse: Callable[[], None] | None = None
) -> Iterator[bool]:
    """Hold a lock on `path` during the block; yield whether it is really held.

    Args:
        path: Lock file, created if missing. Opened for writing, as NFS requires.
        shared: Allow several holders at the same time.
        wait: Block until the lock is free; the kernel frees a dead holder's lock.
        pulse: Called repeatedly while waiting, instead of blocking; it sleeps, and may raise.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    try:
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        yield _locked(handle, mode, pulse) if wait else _locked(handle, mode | fcntl.LOCK_NB, None)
    finally:
        os.close(handle)
