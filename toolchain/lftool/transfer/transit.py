"""Zstandard in transit: whether it pays for a file, and both directions, in bounded memory.

Half of every BF16 weight is sign and exponent, and repeats; F16 weights and quantised blocks hold hardly anything that does. A
sample tells them apart without knowing any format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from lftool.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ENCODING = "zstd"  # as HTTP names it: RFC 8878 §7
_LEVEL = 3
_PIECE = 256 * 1024
_SAMPLES = 16
_SAMPLE_BYTES = 64 * 1024
_MOST_PAYING = 0.9  # of the bytes; below that the time to compress is not made up for
_LEAST_BYTES = 4096
_WINDOW_BYTES = 8 * 1024 * 1024


def pays(file: BinaryIO, size: int) -> bool:
    """Tell whether a file of `size` bytes gets at least a tenth smaller, as samples from all over it show."""
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
    """What can be read."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


def compress(source: Readable, destination: BinaryIO, threads: int) -> None:
    """Write `source` compressed; the bytes depend on the number of threads and on libzstd, and nothing depends on them."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=threads, write_checksum=True)
    compressor.copy_stream(source, destination)  # type: ignore[arg-type]  # read() is all it calls


class _Reader:
    """Pieces of any length as a thing to read from."""

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
        if self._left < 0:  # frames that stand for nothing would keep us reading
            raise IntegrityError(f"{self._what} is compressed to more than it holds")
        return found


def decompressed(pieces: Iterable[bytes], size: int, what: str) -> Iterator[bytes]:
    """Yield what compressed pieces hold, in bounded pieces: a small input may stand for a very large output.

    Args:
        pieces: A zstandard stream.
        size: How many bytes it should hold; who takes them looks for more.
        what: What it is, for messages.

    Raises:
        IntegrityError: It is no sound zstandard stream, holds less, is larger than what it holds, or needs a window of more
            than 8 MiB.
    """
    import zstandard

    reader: Any = _Reader(pieces, size + _LEAST_BYTES, what)  # read() is all that is called
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(reader, read_size=_PIECE, read_across_frames=True) as plain:
            while piece := plain.read(_PIECE):
                size -= len(piece)
                yield piece
            if size > 0:
                raise IntegrityError(f"{what} ends {size} bytes too early")
    except zstandard.ZstdError as error:
        raise IntegrityError(f"{what} is no sound zstandard stream: {error}") from error
