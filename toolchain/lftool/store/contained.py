"""Open files below one folder and nowhere else. Project files are only ever opened this way.

The kernel resolves a path from a recipe or lock in one step, so no link can be swapped in between. Absolute links,
links that lead outside, devices, FIFOs and sockets are refused. The result is a descriptor, so a caller that hashes
it reads the file that was checked.

Like `openat2(2)` with RESOLVE_BENEATH, it refuses an absolute link even if it leads back inside.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader
    from pathlib import Path

_OPENAT2 = 437  # the same number on every supported architecture; include/uapi/asm-generic/unistd.h
_NO_MAGIC_LINKS, _BENEATH = 0x02, 0x08  # include/uapi/linux/openat2.h
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO must not hang us
_MOST_LINKS = 40  # the same as Linux: path_resolution(7)
_MISSING = {errno.ENOSYS, errno.EPERM, errno.EINVAL}  # no openat2: an old kernel, or a sandbox


class OutsideError(OSError):
    """A path leads out of its folder: an absolute link, a link upwards, or `..`."""


class NotRegularError(OSError):
    """A path is not a regular file but a folder, a device, a FIFO or a socket."""


def _outside(path: str) -> OutsideError:
    return OutsideError(errno.EXDEV, "it leads out of the folder", path)


class _How(ctypes.Structure):
    """`struct open_how`."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@functools.cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _at_once(folder: int, path: str, flags: int) -> int | None:
    """Open a path below a folder in one step; return None if the kernel cannot do that."""
    libc = _libc()
    if libc is None:
        return None
    how = _How(flags, 0, _BENEATH | _NO_MAGIC_LINKS)
    while True:
        found: int = libc.syscall(_OPENAT2, folder, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if found >= 0:
            return found
        code = ctypes.get_errno()
        if code in {errno.EINTR, errno.EAGAIN}:  # EAGAIN: something was renamed during the call; openat2(2)
            continue
        if code in _MISSING:
            return None
        if code == errno.EXDEV:
            raise _outside(path)
        raise OSError(code, os.strerror(code), path)


def _by_parts(folder: int, path: str, flags: int) -> int:
    """Open a path below a folder component by component, following links as long as they stay below."""
    left = [part for part in path.split("/") if part not in {"", "."}]
    opened = [os.dup(folder)]
    links = 0
    try:
        while left:
            part = left.pop(0)
            if part == "..":
                if len(opened) == 1:
                    raise _outside(path)
                os.close(opened.pop())
                continue
            if stat.S_ISLNK(os.stat(part, dir_fd=opened[-1], follow_symlinks=False).st_mode):
                links += 1
                target = os.readlink(part, dir_fd=opened[-1])
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if target.startswith("/"):
                    raise _outside(path)
                left = [step for step in target.split("/") if step not in {"", "."}] + left
                continue
            kind = (flags if not left else _FLAGS | os.O_DIRECTORY) | os.O_NOFOLLOW
            opened.append(os.open(part, kind, dir_fd=opened[-1]))
        return os.dup(opened[-1])
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _descend(folder: int, path: str, flags: int) -> int:
    if path.startswith("/") or "\0" in path:
        raise _outside(path)
    found = _at_once(folder, path or ".", flags)
    return _by_parts(folder, path, flags) if found is None else found


class Contained:
    """The files below a folder.

    Args:
        folder: The folder.
        below: Subfolder that paths are relative to; links may lead anywhere in `folder`.
    """

    def __init__(self, folder: Path, below: str = "") -> None:
        self.folder = folder
        self._below = below.strip("/")

    def _path(self, path: str) -> str:
        return f"{self._below}/{path}".strip("/") if self._below else path

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _kind(self, path: str) -> int:
        """Return the mode of the file that a path leads to."""
        with self._root() as root:
            descriptor = _descend(root, self._path(path), _FLAGS)
            try:
                return os.fstat(descriptor).st_mode
            finally:
                os.close(descriptor)

    def is_folder(self, path: str) -> bool:
        """Return whether a path leads to a folder.

        Raises:
            FileNotFoundError: Nothing is there.
            OutsideError: It leads out of the folder.
            OSError: It cannot be opened.
        """
        return stat.S_ISDIR(self._kind(path))

    def open_file(self, path: str) -> BufferedReader:
        """Return a regular file, open for reading. Its descriptor is that of the file that was checked.

        Args:
            path: Relative, with `/` between its parts.

        Raises:
            FileNotFoundError: Nothing is there.
            OutsideError: It leads out of the folder.
            NotRegularError: It is not a regular file.
            OSError: It cannot be opened.
        """
        with self._root() as root:
            descriptor = _descend(root, self._path(path), _FLAGS)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotRegularError(errno.EINVAL, "it is not a regular file", path)
        return os.fdopen(descriptor, "rb")

    def read(self, path: str, most: int) -> bytes:
        """Return the bytes of a regular file.

        Args:
            path: Relative, with `/` between its parts.
            most: Largest allowed size in bytes.

        Raises:
            OSError: As for `open_file`, or the file is larger.
        """
        with self.open_file(path) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes", path)
        return data

    def walk(self, path: str = "", left_out: Callable[[str], bool] = lambda _: False) -> Iterator[str]:
        """Yield all regular files below a folder as sorted relative paths, including links that stay inside.

        Args:
            path: The folder.
            left_out: Called with the name of a file or folder; if true, skips it and everything below.

        Raises:
            OutsideError: A link leads out of the folder, or to a folder.
            OSError: A folder cannot be read.
        """
        with self._root() as root:
            descriptor = _descend(root, self._path(path), _FLAGS | os.O_DIRECTORY)
        try:
            found = [
                (name, os.stat(name, dir_fd=descriptor, follow_symlinks=False))
                for name in sorted(os.listdir(descriptor))  # noqa: PTH208 - pathlib takes no descriptor
            ]
        finally:
            os.close(descriptor)
        for name, status in found:
            if left_out(name):
                continue
            inner = f"{path}/{name}" if path else name
            mode = self._kind(inner) if stat.S_ISLNK(status.st_mode) else status.st_mode
            if stat.S_ISDIR(mode):
                if stat.S_ISLNK(status.st_mode):
                    raise OutsideError(errno.ELOOP, "it is a link to a folder", inner)
                for below in self.walk(inner, left_out):
                    yield f"{name}/{below}"
            elif stat.S_ISREG(mode):
                yield name
