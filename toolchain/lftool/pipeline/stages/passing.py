"""Pass weights from a converter to quantizers: hash every piece and hand it on, without storing any."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from attrs import define

from lftool.models.digest import Artifact, Digest

if TYPE_CHECKING:
    from lftool.pipeline.ports import Ports

_PIECE = 1 << 20


@define
class Passing:
    """A pipe as a file that can be reread up to the current position, as the reader of the header does."""

    pipe: FileIO
    seen: bytearray = attrs.field(factory=bytearray)
    position: int = 0
    ended: bool = False

    def seek(self, position: int) -> int:
        """Go to a position that was already read, or is the next one."""
        self.position = position
        return position

    def read(self, count: int) -> bytes:
        """Return the next bytes; fewer at the end of the pipe."""
        end = self.position + count
        while len(self.seen) < end and not self.ended:
            piece = self.pipe.read(_PIECE)
            self.ended = not piece
            self.seen += piece
        found = bytes(self.seen[self.position : end])
        self.position += len(found)
        return found


def open_pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    """Return both ends of a pipe, which are closed with `stack` at the latest."""
    read, write = os.pipe()
    ends = stack.enter_context(FileIO(read, "r")), stack.enter_context(FileIO(write, "w"))
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # an administrator's limit
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIECE)
    return ends


def path_of(end: FileIO) -> Path:
    """Return the path at which a child process that inherits an end can open it."""
    return Path(f"/dev/fd/{end.fileno()}")


def _write(end: FileIO, view: memoryview) -> bool:
    """Write to a quantizer; return False if it has stopped reading. Its error, if any, is reported elsewhere."""
    try:
        while view:
            view = view[end.write(view) :]
    except BrokenPipeError:
        return False
    return True


def pass_on(passing: Passing, size: int, ends: list[FileIO], ports: Ports) -> Artifact | None:
    """Hash the stream and pass it to every quantizer; return None as soon as it exceeds `size` bytes."""
    digest, seen = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_PIECE))
    piece, open_ends = memoryview(passing.seen), ends
    while piece:
        ports.check_cancelled()
        digest.update(piece)
        seen += len(piece)
        if seen > size:
            return None
        open_ends = [end for end in open_ends if _write(end, piece)]
        piece = buffer[: passing.pipe.readinto(buffer)]
    if seen == size:  # otherwise quantizers would take a truncated stream for a complete one
        for end in ends:
            end.close()
    return Artifact(Digest(digest.hexdigest()), seen)
