"""Hash while reading or writing: sha256 of the whole, sha256 of each 4 MiB chunk, and CRC-32, in one pass."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

from attrs import frozen

from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import CHUNK_SIZE
from lftool.store.buffers import page_aligned_buffer
from lftool.store.checksums import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self


@frozen(kw_only=True)
class Facts:
    """The facts that packing needs about a blob: CRC-32 and the sha256 of every chunk, 32 bytes each."""

    crc32: int
    chunks: bytes


@frozen(kw_only=True)
class Blob:
    """An artifact and its facts."""

    artifact: Artifact
    facts: Facts


class BlobHasher:
    """Accepts bytes in pieces of any size; two threads share the work, since one SHA-256 stream keeps one core busy."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._size = 0
        self._crc = 0
        self._chunks: list[bytes] = []
        self._pending = bytearray()
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="hash")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._helper.shutdown(cancel_futures=True)

    def _chunk(self, data: bytes | bytearray | memoryview) -> None:
        whole = self._helper.submit(self._whole.update, data)
        self._chunks.append(hashlib.sha256(data).digest())
        self._crc = crc32(data, self._crc)
        self._size += len(data)
        whole.result()

    def update(self, data: bytes | memoryview) -> None:
        """Add `data`."""
        view = memoryview(data)
        if self._pending:
            need = CHUNK_SIZE - len(self._pending)
            self._pending += view[:need]
            view = view[need:]
            if len(self._pending) < CHUNK_SIZE:
                return
            full, self._pending = self._pending, bytearray()
            self._chunk(full)
        while len(view) >= CHUNK_SIZE:
            self._chunk(view[:CHUNK_SIZE])
            view = view[CHUNK_SIZE:]
        self._pending += view

    @property
    def size(self) -> int:
        """Number of bytes added so far."""
        return self._size + len(self._pending)

    def finish(self) -> Blob:
        """Return the name and facts of everything added."""
        if self._pending:
            full, self._pending = self._pending, bytearray()
            self._chunk(full)
        artifact = Artifact(Digest(self._whole.hexdigest()), self._size)
        return Blob(artifact=artifact, facts=Facts(crc32=self._crc, chunks=b"".join(self._chunks)))


def read_chunks(file: BinaryIO, size: int | None = None) -> Iterator[memoryview]:
    """Yield the rest of `file`, or `size` bytes of it, in pieces of 4 MiB. Each piece is valid until the next one."""
    view = page_aligned_buffer(CHUNK_SIZE)
    left = size
    while left is None or left > 0:
        want = CHUNK_SIZE if left is None else min(CHUNK_SIZE, left)
        got = file.readinto(view[:want])  # type: ignore[attr-defined]  # every binary file has it; typeshed's BinaryIO does not
        if not got:
            return
        if left is not None:
            left -= got
        yield view[:got]


def hash_pieces(
    pieces: Iterable[bytes | memoryview], sink: Callable[[bytes | memoryview], object] | None = None
) -> Blob:
    """Return the name and facts of the bytes in `pieces`, also passing each piece to `sink`."""
    with BlobHasher() as hasher:
        for piece in pieces:
            hasher.update(piece)
            if sink is not None:
                sink(piece)
        return hasher.finish()


def name_of(pieces: Iterable[bytes | memoryview], sink: Callable[[bytes | memoryview], object]) -> Artifact:
    """Return the name of the bytes in `pieces` without their facts; hashes each piece while `sink` gets it."""
    state, size = hashlib.sha256(), 0
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as helper:
        for piece in pieces:
            hashed = helper.submit(state.update, piece)
            sink(piece)
            size += len(piece)
            hashed.result()
    return Artifact(Digest(state.hexdigest()), size)


def hash_bytes(data: bytes) -> Blob:
    """Return the name and facts of `data`, without starting a thread."""
    pieces = [data[start : start + CHUNK_SIZE] for start in range(0, len(data), CHUNK_SIZE)]
    chunks = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    return Blob(artifact=Artifact.of(data), facts=Facts(crc32=crc32(data), chunks=chunks))
