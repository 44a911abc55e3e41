"""Zstandard for transfers: decide whether it pays for a file, compress and decompress, in bounded memory.

Half of every BF16 weight is sign and exponent, which repeat; F16 weights and quantised blocks hardly repeat at all. A
sample tells them apart without knowledge of any format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from lftool.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ENCODING = "zstd"  # HTTP's name: RFC 8878 §7
_LEVEL = 3
_PIECE = 256 * 1024
_SAMPLES = 16
_SAMPLE_BYTES = 64 * 1024
_MOST_PAYING = 0.9  # of the bytes; a smaller saving is not worth the time to compress
_LEAST_BYTES = 4096
_WINDOW_BYTES = 8 * 1024 * 1024


def pays(file: BinaryIO, size: int) -> bool:
    """Return whether a file of `size` bytes shrinks by at least a tenth, judging by samples from the whole file."""
    if size < _LEAST_BYTES:
        return False
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    count = max(1, min(_SAMPLES, size // _SAMPLE_BYTES))
    plain = packed = 0
    for index in range(count):
        file.seek(index * (size - min(size, _SAMPLE_BYTES)) // max(1, count - 1))
        sample = file.read(_SAMPLE_BYTES)
        plain += len(sample)
        packed += len(compressor.compress(sample))
    file.seek(0)
    return packed <= plain * _MOST_PAYING


class Readable(Protocol):
    """Anything that can be read."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


def compress(source: Readable, destination: BinaryIO, threads: int) -> None:
    """Write `source` compressed. The bytes depend on the thread count and on libzstd; nothing depends on them."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=threads, write_checksum=True)
    compressor.copy_stream(source, destination)  # type: ignore[arg-type]  # it calls only read()


class _Reader:
    """A readable view of pieces of any length."""

    def __init__(self, pieces: Iterable[bytes], most: int, what: str) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._at = 0
        self._left = most
        self._what = what

    def read(self, size: int) -> bytes:
        if self._at == len(self._piece):
            self._piece, self._at = next(self._pieces, b""), 0
        found = self._piece[self._at : self._at + size]
        self._at += len(found)
        self._left -= len(found)
        if self._left < 0:  # empty frames would keep us reading
            raise IntegrityError(f"{self._what} is larger compressed than uncompressed")
        return found


def decompressed(pieces: Iterable[bytes], size: int, what: str) -> Iterator[bytes]:
    """Yield the decompressed bytes in bounded pieces: a small input may decompress to a very large output.

    Args:
        pieces: A zstandard stream.
        size: Expected number of bytes; the caller checks for more.
        what: Description for messages.

    Raises:
        IntegrityError: Not a valid zstandard stream, too short, larger than its content, or with a window of more
            than 8 MiB.
    """
    import zstandard

    reader: Any = _Reader(pieces, size + _LEAST_BYTES, what)  # it calls only read()
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(reader, read_size=_PIECE, read_across_frames=True) as plain:
            while piece := plain.read(_PIECE):
                size -= len(piece)
                yield piece
            if size > 0:
                raise IntegrityError(f"{what} ends {size} bytes too early")
    except zstandard.ZstdError as error:
        raise IntegrityError(f"{what} is not a valid zstandard stream: {error}") from error
