"""Partly written files that outlive their process: the data, and a journal of the finished chunks.

A chunk counts only if its bytes match the CRC-32 in the journal. Nothing is synced, so after a power cut some chunks
may not match and are fetched again. The sha256 decides whether the whole file is right.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING

from lftool.models.manifest import CHUNK_SIZE
from lftool.store.buffers import page_aligned_buffer
from lftool.store.checksums import crc32
from lftool.store.durable import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lftool.models.digest import Digest

_LINE = re.compile(rb"([0-9]{1,12}) ([0-9a-f]{8})\n")
_KEPT_SECONDS = 7 * 86_400


class PartialFile:
    """A partly written file of known size, in chunks of 4 MiB; `missing` holds the chunks still to come."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.count = -(-size // CHUNK_SIZE)
        self.missing = set(range(self.count))
        self._journal_path = path.with_suffix(".journal")
        with storage_errors("open", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self._journal = os.open(
                self._journal_path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            self._recall()
            os.truncate(self.descriptor, size)

    def length(self, index: int) -> int:
        """Return the size of chunk `index` in bytes."""
        return min(CHUNK_SIZE, self.size - index * CHUNK_SIZE)

    def _recall(self) -> None:
        known: dict[int, int] = {}
        with os.fdopen(os.dup(self._journal), "rb") as file:
            for line in file:
                match = _LINE.fullmatch(line)
                if match:
                    known[int(match[1])] = int(match[2], 16)
        view = page_aligned_buffer(CHUNK_SIZE)
        for index, crc in known.items():
            if index < self.count and crc32(self.read(index, view)) == crc:
                self.missing.discard(index)

    def read(self, index: int, buffer: memoryview) -> memoryview:
        """Return the available bytes of chunk `index`, read into `buffer`."""
        got = os.preadv(self.descriptor, [buffer[: self.length(index)]], index * CHUNK_SIZE)
        return buffer[:got]

    def write(self, offset: int, data: memoryview) -> None:
        """Write bytes at an offset. Several threads may write if their chunks differ.

        Raises:
            StorageError: It cannot be written.
        """
        with storage_errors("write", self.path):
            done = 0
            while done < len(data):
                done += os.pwrite(self.descriptor, data[done:], offset + done)

    def finish(self, index: int, crc: int) -> None:
        """Record that chunk `index` is complete, with the CRC-32 of its bytes.

        Raises:
            StorageError: It cannot be recorded.
        """
        with storage_errors("write", self._journal_path):
            os.write(self._journal, b"%d %08x\n" % (index, crc))
        self.missing.discard(index)

    def clear(self) -> None:
        """Forget every chunk."""
        os.ftruncate(self._journal, 0)
        self.missing = set(range(self.count))

    def discard(self) -> None:
        """Remove both files, except one that has been given another name."""
        self.path.unlink(missing_ok=True)
        self._journal_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close both files without removing them."""
        os.close(self.descriptor)
        os.close(self._journal)


@contextlib.contextmanager
def partial_file(folder: Path, key: Digest, size: int) -> Iterator[PartialFile]:
    """Yield the partly written file called `key`, with the chunks that an earlier process left.

    Args:
        folder: A folder on the same file system as the store.
        key: Digest of everything that determines the bytes.
        size: Size of the whole file in bytes.

    Raises:
        StorageError: It cannot be opened.
    """
    made = PartialFile(folder / f"{key.hex}.data", size)
    try:
        yield made
    finally:
        made.close()


def has_chunks(folder: Path) -> bool:
    """Return whether any chunk of a partly written file has arrived."""
    return any(path.stat().st_size for path in folder.glob("*.journal"))


def partial_bytes(folder: Path) -> int:
    """Return the disk usage of partly written files, in bytes."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob("*.data"))


def remove_old_partials(folder: Path, *, now: float | None = None) -> int:
    """Remove files that have not changed for a week; return the number removed."""
    moment, removed = time.time() if now is None else now, 0
    for path in sorted(folder.glob("*")):
        with contextlib.suppress(OSError):
            newest = max(part.stat().st_mtime for part in folder.glob(f"{path.stem}.*"))
            if moment - newest > _KEPT_SECONDS:
                path.unlink()
                removed += 1
    return removed
