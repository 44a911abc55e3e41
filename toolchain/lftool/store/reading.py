"""Open a file that is about to be checked: whoever checks a descriptor must go on using that very descriptor."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from lftool.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path


def open_for_reading(path: Path) -> int:
    """Return a file descriptor of the regular file at `path`.

    Raises:
        StorageError: It is not there, or no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hang us
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"{path} is not a regular file")
    return descriptor
