"""Bytes of a model file, wherever it is: read by ranges, never stored whole."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

from lftool.errors import FetchError, FormatError, StorageError, TransientError
from lftool.pipeline.ports import Ports
from lftool.pipeline.sources.fetch import RemoteFile
from lftool.transfer.fetch_rules import wait_before

if TYPE_CHECKING:
    from collections.abc import Iterator


_PIECE = 1024 * 1024


class Content(Protocol):
    """Bytes that can be read anywhere."""

    @property
    def name(self) -> str:
        """The file's name in messages."""

    @property
    def size(self) -> int | None:
        """Its size in bytes; None if nothing announces it."""

    @property
    def path(self) -> Path | None:
        """The file on this machine; None if it is elsewhere."""

    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        """Yield bytes, in pieces of at most 1 MiB.

        Raises:
            FormatError: The file ends first.
            StorageError: It cannot be read.
            FetchError: Its source cannot deliver it.
        """


@frozen(kw_only=True)
class LocalContent:
    """A file on this machine, read through one descriptor.

    Attributes:
        descriptor: The file, open.
        path: Where it is.
        size: Its size in bytes when it was opened.
    """

    descriptor: int
    path: Path
    size: int

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.path.name

    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        """Yield bytes; see `Content.pieces`."""
        while size:
            try:
                piece = os.pread(self.descriptor, min(size, _PIECE), offset)
            except OSError as error:
                raise StorageError(f"cannot read {self.name}: {error.strerror}") from error
            if not piece:
                raise FormatError(f"{self.name}: it ends at byte {offset}, {size} bytes too early")
            yield piece
            offset, size = offset + len(piece), size - len(piece)


@define(kw_only=True)
class RemoteContent:
    """A file of a source, read by ranges.

    Attributes:
        remote: The file.
        name: Its name in messages.
        size: Its size in bytes, if the source announces it.
        ports: Rules of fetching, and cancellation.
        fetched: Bytes that came over the network so far.
        keeps: Whether what is read from the start on is kept, so that a header is fetched once.
    """

    remote: RemoteFile
    name: str
    size: int | None
    ports: Ports
    fetched: int = 0
    keeps: bool = True
    path: Path | None = field(default=None, init=False)
    _head: bytearray = field(factory=bytearray, init=False)

    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        """Yield bytes; begins again where it was when the source fails for a moment. See `Content.pieces`."""
        kept = bytes(self._head[offset : offset + size])
        if kept:
            yield kept
            offset, size = offset + len(kept), size - len(kept)
        for piece in self._fetch(offset, size):
            if self.keeps and offset == len(self._head):
                self._head += piece
            offset += len(piece)
            yield piece

    def _fetch(self, offset: int, size: int) -> Iterator[bytes]:
        failed = 0
        while size:
            came = 0
            try:
                with self.remote.open(offset, size, pinned=True) as pieces:
                    for piece in pieces:
                        self.ports.check_cancelled()
                        part = piece[: size - came]
                        came += len(part)
                        self.fetched += len(part)
                        yield part
                        if came == size:
                            break
            except TransientError as error:
                failed = 1 if came else failed + 1
                self.ports.wait(wait_before(failed, error, self.ports.transfer, self.name))
            else:
                if not came:
                    raise FetchError(f"{self.name}: it ends at byte {offset}, {size} bytes too early")
            offset, size = offset + came, size - came


class Reader(io.RawIOBase):
    """A content as a seekable binary file, as the readers of headers want it."""

    def __init__(self, content: Content) -> None:
        super().__init__()
        self._content, self._at = content, 0

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether it has a position."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position from the start."""
        if whence != os.SEEK_SET:
            raise OSError("only from the start")
        self._at = offset
        return offset

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, or fewer at the end of the file."""
        if self._content.size is not None:
            size = max(0, min(size, self._content.size - self._at))
        data = b"".join(self._content.pieces(self._at, size)) if size > 0 else b""
        self._at += len(data)
        return data
