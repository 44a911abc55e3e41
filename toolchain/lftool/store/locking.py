"""Advisory locks: they save work between processes; nothing here is wrong when a file system lies about them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def advisory_lock(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a lock on `path` during the block; yield whether it is really held.

    Args:
        path: Lock file, created if need be. Opened for writing, which NFS asks for.
        shared: Several holders at once.
        wait: Block until the lock is free; a dead holder's lock is freed by the kernel.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    try:
        mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(handle, mode)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
