"""Hash a bundle's contents in parallel, reading each byte once; compare with the chunk table and the manifest."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.errors import FormatError, IntegrityError
from lftool.formats.gguf_read import GGUFHeader, read_gguf
from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import CHUNK_SIZE, CHUNKS_PATH, Member, Prefix, is_large
from lftool.store.buffers import page_aligned_buffer
from lftool.store.checksums import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from lftool.bundle.extents import Extents
    from lftool.bundle.reader import Bundle

_DIGEST_BYTES = 32
_PIECE = 1024 * 1024


@frozen(kw_only=True)
class _Large:
    """A content that the chunk table covers, such as the weights."""

    name: str
    offset: int
    content: Prefix | Member

    @property
    def chunk_count(self) -> int:
        return -(-self.content.size // CHUNK_SIZE)


def _large_contents(bundle: Bundle) -> list[_Large]:
    found = [_Large(name="the prefix", offset=0, content=bundle.manifest.prefix)]
    found += [
        _Large(name=member.path, offset=bundle.placed(member.path).data_offset, content=member)
        for member in bundle.manifest.members
        if is_large(member.role)
    ]
    return found


class _ChunkHasher:
    """Reads and hashes chunks with one buffer per thread, small enough to stay in the processor's cache."""

    def __init__(self, extents: Extents) -> None:
        self._extents = extents
        self._local = threading.local()

    def digest(self, offset: int, size: int) -> bytes:
        """Return the sha256 of `size` bytes at `offset`, or of fewer if the file ends first."""
        view: memoryview | None = getattr(self._local, "buffer", None)
        if view is None:
            view = self._local.buffer = page_aligned_buffer(_PIECE)
        state = hashlib.sha256()
        while size > 0:
            got = self._extents.read_into(view[: min(size, _PIECE)], offset)
            if got == 0:
                break
            state.update(view[:got])
            offset += got
            size -= got
        return state.digest()


def _chunk_extents(contents: list[_Large]) -> Iterator[tuple[_Large, int, int]]:
    for item in contents:
        for start in range(0, item.content.size, CHUNK_SIZE):
            yield item, start, min(CHUNK_SIZE, item.content.size - start)


@contextlib.contextmanager
def hashing_contents(bundle: Bundle, *, threads: int | None = None) -> Iterator[None]:
    """Hash every content byte once while the block runs; compare with the chunk table and manifest when it ends.

    Use the block for checks that need no content, such as signatures. A content error takes precedence.

    Args:
        bundle: A bundle whose structure has been checked.
        threads: Number of hashing threads. Defaults to the number of processors that this process may use.

    Raises:
        IntegrityError: A content does not match the manifest; the message says which and where.
        FormatError: The chunk table has the wrong size, or the weights are not a valid GGUF.
    """
    for member in bundle.manifest.members:
        if not is_large(member.role):
            bundle.read_member(member.path)
    large = _large_contents(bundle)
    table = bundle.read_member(CHUNKS_PATH)
    if len(table) != _DIGEST_BYTES * sum(item.chunk_count for item in large):
        raise FormatError(f"{bundle.name}: {CHUNKS_PATH} has {len(table)} bytes, which is not 32 for every chunk")
    hasher = _ChunkHasher(bundle.extents)
    extents = list(_chunk_extents(large))
    workers = threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        digests = pool.map(lambda extent: hasher.digest(extent[0].offset + extent[1], extent[2]), extents)
        try:
            yield
        finally:
            for index, (digest, (item, start, size)) in enumerate(zip(digests, extents, strict=True)):
                expected = table[index * _DIGEST_BYTES : (index + 1) * _DIGEST_BYTES]
                if digest != expected:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise IntegrityError(
                        f"{bundle.name}: {item.name}: bytes {start} to {start + size} have been changed:"
                        f" expected sha256 {expected.hex()}, got {digest.hex()}"
                    )
    weights_header(bundle)


def check_contents(bundle: Bundle, *, threads: int | None = None) -> None:
    """Hash every content byte once and compare; see `hashing_contents`.

    Raises:
        IntegrityError: A content does not match the manifest.
        FormatError: The chunk table has the wrong size, or the weights are not a valid GGUF.
    """
    with hashing_contents(bundle, threads=threads):
        pass


def weights_header(bundle: Bundle) -> GGUFHeader:
    """Return the header of the weights, checked to fill exactly the extent that the manifest gives them.

    Raises:
        FormatError: Not a valid GGUF, or there are bytes after its last tensor.
    """
    descriptor, start = bundle.weights_file()
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return read_gguf(file, bundle.weights_extent()[1], f"{bundle.name}: weights", start=start)


def _flat(bundle: Bundle, offset: int, size: int) -> tuple[Artifact, int]:
    state, crc = hashlib.sha256(), 0
    position = offset
    while position < offset + size:
        piece = bundle.read(position, min(CHUNK_SIZE, offset + size - position))
        state.update(piece)
        crc = crc32(piece, crc)
        position += len(piece)
    return Artifact(Digest(state.hexdigest()), size), crc


def check_flat_digests(bundle: Bundle) -> None:
    """Recompute the flat sha256 and CRC-32 of the prefix and the members; the second half of `--full`.

    Raises:
        IntegrityError: One differs from the manifest.
    """
    prefix = bundle.manifest.prefix
    contents = [("the prefix", 0, prefix)] + [
        (member.path, bundle.placed(member.path).data_offset, member) for member in bundle.manifest.members
    ]
    for name, offset, content in contents:
        artifact, crc = _flat(bundle, offset, content.size)
        content.artifact.require(artifact, f"{bundle.name}: {name}")
        if f"{crc:08x}" != content.crc32:
            raise IntegrityError(f"{bundle.name}: {name}: expected CRC-32 {content.crc32}, got {crc:08x}")


def whole_artifact(bundle: Bundle) -> Artifact:
    """Return the name of the whole bundle, computed from its bytes."""
    return _flat(bundle, 0, bundle.size)[0]


def unsigned_artifact(bundle: Bundle, out: BinaryIO | None = None) -> Artifact:
    """Return the name of U, computed from the file: its bytes up to the first signature, and the directory of U.

    Args:
        bundle: The bundle.
        out: Receives those bytes, without the directory.
    """
    arrangement = bundle.unsigned_arrangement()
    state = hashlib.sha256()
    position = 0
    while position < arrangement.directory_offset:
        piece = bundle.read(position, min(CHUNK_SIZE, arrangement.directory_offset - position))
        state.update(piece)
        if out is not None:
            out.write(piece)
        position += len(piece)
    state.update(arrangement.directory)
    return Artifact(Digest(state.hexdigest()), arrangement.size)
