"""Advisory locks: they save work between processes; nothing here is wrong when a file system lies about them."""

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
        path: Lock file, created if need be. Opened for writing, which NFS asks for.
        shared: Several holders at once.
        wait: Block until the lock is free; a dead holder's lock is freed by the kernel.
        pulse: Called again and again while waiting, instead of blocking; it lets time pass, and may raise.
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
