"""Copy a file, sharing its extents where the file system can; make room at its begin without copying."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import sys
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_FICLONE = 0x40049409  # _IOW(0x94, 9, int), include/uapi/linux/fs.h
_INSERT_RANGE = 0x20  # FALLOC_FL_INSERT_RANGE, include/uapi/linux/falloc.h; ext4 and XFS
_PIECE = 1 << 20


def clone_or_copy(source: BinaryIO, destination: BinaryIO) -> None:
    """Make the empty file `destination` equal to `source`.

    Raises:
        OSError: It cannot be copied.
    """
    try:
        fcntl.ioctl(destination.fileno(), _FICLONE, source.fileno())
    except OSError:
        shutil.copyfileobj(source, destination, _PIECE)
        destination.flush()
    os.lseek(destination.fileno(), 0, os.SEEK_END)


def shifted(path: Path, size: int) -> bool:
    """Shift the content of a file by `size` bytes, and return whether that was possible; if not, the file is unchanged.

    It needs a file system that can insert a range, and a multiple of its block size.

    Raises:
        OSError: The file cannot be opened.
    """
    if not size:
        return True
    if sys.platform != "linux":
        return False
    mode = path.stat().st_mode
    path.chmod(0o600)
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        insert = ctypes.CDLL(None, use_errno=True).fallocate
        insert.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        return bool(insert(descriptor, _INSERT_RANGE, 0, size) == 0)
    except AttributeError:  # a C library without it
        return False
    finally:
        os.close(descriptor)
        path.chmod(mode)
