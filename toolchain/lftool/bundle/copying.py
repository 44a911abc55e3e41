"""Copy a blob into a file inside the kernel, sharing extents where the file system can, and hash it in parallel."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from lftool.errors import StorageError
from lftool.models.manifest import CHUNK_SIZE
from lftool.store.buffers import page_aligned_buffer
from lftool.store.cas import CorruptBlobError
from lftool.store.checksums import crc32

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lftool.bundle.extents import Extents
    from lftool.models.digest import Artifact

_FICLONERANGE = 0x4020940D  # _IOW(0x94, 13, struct file_clone_range), include/uapi/linux/fs.h
_MAX_COPY = 1 << 27  # a copy checks for cancellation between pieces


class BlobFacts(Protocol):
    """CRC-32 and chunk digests of a blob, as `lftool.store` remembers them."""

    @property
    def crc32(self) -> int:
        """CRC-32 of the whole blob."""

    @property
    def chunks(self) -> bytes:
        """The sha256 of every 4 MiB chunk, 32 bytes each."""


def _share_extents(source: int, start: int, destination: int, size: int, offset: int) -> bool:
    """Ask the file system to share extents of a file; return whether it did."""
    try:
        fcntl.ioctl(destination, _FICLONERANGE, struct.pack("=qQQQ", source, start, size, offset))
    except OSError:
        return False
    return True


def _copy_range(
    source: int,
    start: int,
    destination: int,
    size: int,
    offset: int,
    stop: threading.Event,
    written: Callable[[], object],
) -> None:
    done = 0
    while done < size and not stop.is_set():
        wanted = min(size - done, _MAX_COPY)
        try:
            got = os.copy_file_range(source, destination, wanted, start + done, offset + done)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
                raise
            _copy_through_memory(source, start, destination, size, offset, done, stop)
            return
        if got == 0:
            raise StorageError("a file became shorter while it was copied")
        done += got
        written()


def _copy_through_memory(
    source: int, start: int, destination: int, size: int, offset: int, done: int, stop: threading.Event
) -> None:
    while done < size and not stop.is_set():
        piece = os.pread(source, min(CHUNK_SIZE, size - done), start + done)
        if not piece:
            raise StorageError("a file became shorter while it was copied")
        write_at(destination, piece, offset + done)
        done += len(piece)


def write_at(destination: int, data: bytes, offset: int) -> None:
    """Write all of `data` at an offset of an open file.

    Raises:
        OSError: It cannot be written.
    """
    written = 0
    while written < len(data):
        written += os.pwrite(destination, data[written:], offset + written)


def copy_extents(extents: Extents, destination: int, stop: threading.Event) -> None:
    """Write a bundle to an open file, inside the kernel or by sharing extents where the file system can.

    Args:
        extents: Where its bytes lie.
        destination: File descriptor, open for writing.
        stop: Ends the copying early when set.

    Raises:
        OSError: It cannot be read or written.
        StorageError: A file became shorter meanwhile.
    """
    for part, offset in zip(extents.parts, extents.starts, strict=True):
        if part.descriptor is None:
            write_at(destination, part.data, offset)
        else:
            _copy(part.descriptor, part.start, destination, part.size, offset, stop)


class _Rechecker:
    """Reads a blob once: updates the running hash of the bundle, and re-checks the blob's digests and CRC-32.

    Where the bundle begins with the blob, the running hash is the blob's; else every chunk is hashed once more.
    """

    def __init__(self, source: int, artifact: Artifact, facts: BlobFacts, *, first: bool) -> None:
        self._source = source
        self._artifact = artifact
        self._facts = facts
        self._first = first

    def run(self, running: Any, helper: ThreadPoolExecutor) -> None:  # noqa: ANN401 - hashlib has no public type
        crc = 0
        buffers = [page_aligned_buffer(CHUNK_SIZE), page_aligned_buffer(CHUNK_SIZE)]
        position, index, pending = 0, 0, None
        while position < self._artifact.size:
            view = buffers[index % 2][: min(CHUNK_SIZE, self._artifact.size - position)]
            filled = 0
            while filled < len(view):
                got = os.preadv(self._source, [view[filled:]], position + filled)
                if got == 0:
                    self._corrupt("ends early")
                filled += got
            if pending is not None:
                pending.result()
            pending = helper.submit(running.update, view)
            if not self._first and hashlib.sha256(view).digest() != self._facts.chunks[index * 32 : index * 32 + 32]:
                pending.result()
                self._corrupt(f"bytes {position} to {position + len(view)} have changed")
            crc = crc32(view, crc)
            position += len(view)
            index += 1
        if pending is not None:
            pending.result()
        if crc != self._facts.crc32:
            self._corrupt("its CRC-32 has changed")
        if self._first and running.hexdigest() != self._artifact.sha256.hex:
            self._corrupt("it has changed")

    def _corrupt(self, why: str) -> None:
        raise CorruptBlobError(self._artifact, f"the cached blob {self._artifact.sha256} was corrupted: {why}")


def copy_blob(
    blob: Path,
    artifact: Artifact,
    facts: BlobFacts,
    destination: int,
    offset: int,
    running: Any,  # noqa: ANN401 - hashlib has no public type
    *,
    first: bool = False,
) -> None:
    """Copy a blob to `offset` of the open file `destination`, and update the hash `running` with its bytes.

    Args:
        blob: The blob's file in the store.
        artifact: The blob's expected digest and size.
        facts: The blob's expected CRC-32 and chunk digests.
        destination: File descriptor of the bundle that is being written.
        offset: Where to write the blob, in bytes.
        running: A hashlib object for SHA-256.
        first: Whether it has hashed nothing yet.

    Raises:
        CorruptBlobError: The blob does not match `artifact` or `facts`.
        OSError: It cannot be copied.
    """
    source = os.open(blob, os.O_RDONLY)
    stop = threading.Event()
    try:
        with ThreadPoolExecutor(2) as pool:
            copying = pool.submit(_copy, source, 0, destination, artifact.size, offset, stop)
            try:
                _Rechecker(source, artifact, facts, first=first).run(running, pool)
            except BaseException:
                stop.set()
                raise
            copying.result()
    finally:
        os.close(source)


def _copy(source: int, start: int, destination: int, size: int, offset: int, stop: threading.Event) -> None:
    if _share_extents(source, start, destination, size, offset):
        return
    if size <= CHUNK_SIZE:
        _copy_range(source, start, destination, size, offset, stop, lambda: None)
        return
    # The disk writes while more is copied, and hashed; committing the file syncs it in any case. A failure is the file's
    # only once: it must not get lost here.
    with ThreadPoolExecutor(1, thread_name_prefix="flush") as disk:
        flushed: list[Future[None]] = []

        def flush() -> None:
            flushed.append(disk.submit(os.fdatasync, destination))

        _copy_range(source, start, destination, size, offset, stop, flush)
        for one in flushed:
            one.result()
