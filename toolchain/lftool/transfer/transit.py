"""Zstandard in transit: whether it pays for a file, and both directions, in bounded memory.

Half of every BF16 weight is sign and exponent, and repeats; F16 weights and quantised blocks hold hardly anything that does. A
sample tells them apart without knowing any format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

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
    return packed <= plain * _MOST_PAYING


def compress(source: BinaryIO, destination: BinaryIO, threads: int) -> None:
    """Write `source` compressed; the bytes depend on the number of threads and on libzstd, and nothing depends on them."""
    import zstandard

    source.seek(0)
    zstandard.ZstdCompressor(level=_LEVEL, threads=threads, write_checksum=True).copy_stream(source, destination)


class _Reader:
    """Pieces of any length as a thing to read from."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        if self._at == len(self._piece):
            self._piece, self._at = next(self._pieces, b""), 0
        found = self._piece[self._at : self._at + size]
        self._at += len(found)
        return found


def decompressed(pieces: Iterable[bytes], what: str) -> Iterator[bytes]:
    """Yield what compressed pieces hold, in bounded pieces: a small input may stand for a very large output.

    Raises:
        IntegrityError: It is no sound zstandard stream, or needs a window of more than 8 MiB.
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(_Reader(pieces), read_size=_PIECE, read_across_frames=True) as plain:  # type: ignore[arg-type]  # read() is all it calls
            while piece := plain.read(_PIECE):
                yield piece
    except zstandard.ZstdError as error:
        raise IntegrityError(f"{what} is no sound zstandard stream: {error}") from error
