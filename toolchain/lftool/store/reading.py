"""Open a file for checking. Use a checked file only through the descriptor that was checked."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from lftool.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path


def open_for_reading(path: Path) -> int:
    """Return a file descriptor for the regular file at `path`.

    Raises:
        StorageError: The file does not exist, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hang us
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"{path} is not a regular file")
    return descriptor
