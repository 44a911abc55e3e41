"""Fetch the missing chunks of a file over several connections, hashing them in order as they are completed."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections import deque
from typing import TYPE_CHECKING

from attrs import define

from lftool.errors import RangeError, TransientError
from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import CHUNK_SIZE
from lftool.store.buffers import keep_freed_memory, page_aligned_buffer
from lftool.transfer.fetch_rules import wait_before

if TYPE_CHECKING:
    from lftool.store.partial import PartialFile
    from lftool.transfer.fetch_rules import TransferRules
    from lftool.transfer.wanted import Listener, Remote, Wanted

_LOOK_SECONDS = 0.2


def segments(missing: set[int], most: int) -> list[tuple[int, int]]:
    """Return runs of adjacent chunks, (first, end), of at most `most` chunks each, in order."""
    found: list[tuple[int, int]] = []
    for index in sorted(missing):
        if found and found[-1][1] == index and index - found[-1][0] < most:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return found


@define
class _Cursor:
    """The position of a connection: the chunk, the next byte, and the CRC-32 of the chunk so far."""

    index: int
    offset: int
    crc: int = 0


class _Stopped(Exception):  # noqa: N818 - a stop signal, not an error
    """The transfer has ended, or has failed on another thread."""


class ParallelTransfer:
    """The parallel fetch of one file. Fetched chunks stay in the partial file, even after a failure."""

    def __init__(
        self, wanted: Wanted, remote: Remote, partial: PartialFile, rules: TransferRules, listener: Listener
    ) -> None:
        self._wanted = wanted
        self._remote = remote
        self._partial = partial
        self._rules = rules
        self._listener = listener
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._stopped = False
        self._arrived = 0
        self._todo: deque[tuple[int, int]] = deque()

    def run(self, *, pinned: bool) -> Artifact:
        """Fetch the missing chunks and return the name of the whole file.

        Args:
            pinned: Whether every response must be of the version that was resolved.

        Raises:
            ChangedError: The remote has another version.
            RangeError: The remote serves whole files only.
            FetchError: The file could not be fetched.
            KeyboardInterrupt: Cancelled.
        """
        fair = -(-len(self._partial.missing) // self._rules.connections)
        self._todo.extend(segments(self._partial.missing, max(1, min(self._rules.segment // CHUNK_SIZE, fair))))
        count = min(self._rules.connections, len(self._todo))
        keep_freed_memory()
        waits = [max(0.0, (place - 1) * self._rules.ramp) for place in range(count)]
        workers = [threading.Thread(target=self._work, args=(pinned, wait), name="fetch") for wait in waits]
        for worker in workers:
            worker.start()
        try:
            return self._hash()
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            for worker in workers:
                worker.join()

    def _hash(self) -> Artifact:
        """Hash chunks in order; they are usually still in the page cache."""
        state, view = hashlib.sha256(), page_aligned_buffer(CHUNK_SIZE)
        for index in range(self._partial.count):
            self._await(index)
            state.update(self._partial.read(index, view))
        return Artifact(Digest(state.hexdigest()), self._partial.size)

    def _await(self, index: int) -> None:
        while True:
            with self._changed:
                if self._failure is not None:
                    raise self._failure
                if index not in self._partial.missing:
                    return
                self._changed.wait(_LOOK_SECONDS)
            self._listener.wait(0)

    def _work(self, pinned: bool, wait: float) -> None:  # noqa: FBT001 - a thread's target
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or not self._todo, wait)
            while True:
                with self._changed:
                    if self._stopped or not self._todo:
                        return
                    first, end = self._todo.popleft()
                    self._changed.notify_all()
                self._fetch(first, end, pinned=pinned)
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()

    def _fetch(self, first: int, end: int, *, pinned: bool) -> None:
        """Fetch chunks until all are there; retry after transient failures, counting those since the last byte.

        A byte on any connection resets the count: a remote that refuses some connections has not failed.
        """
        cursor, failed, seen = _Cursor(index=first, offset=first * CHUNK_SIZE), 0, self._arrived
        while cursor.index < end:
            try:
                self._stream(cursor, end, pinned=pinned)
            except TransientError as error:
                failed, seen = (1 if self._arrived > seen else failed + 1), self._arrived
                self._pause(wait_before(failed, error, self._rules, self._wanted.what))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            if self._changed.wait_for(lambda: self._stopped, seconds):
                raise _Stopped
        self._listener.wait(0)

    def _stream(self, cursor: _Cursor, end: int, *, pinned: bool) -> None:
        """Read on from the cursor, writing and checksumming pieces while they are in the processor's cache.

        Raises:
            TransientError: The stream ended early.
            RangeError: The remote sent more than was requested.
        """
        stop = min(end * CHUNK_SIZE, self._partial.size)
        size = stop - cursor.offset
        self._listener.wait(0)
        with self._remote.open(cursor.offset, size, pinned=pinned) as pieces:
            for piece in pieces:
                if self._stopped:
                    raise _Stopped
                if cursor.offset + len(piece) > stop:
                    raise RangeError(f"received more than the {size} bytes requested")
                self._take(cursor, memoryview(piece))
        if cursor.index < end:
            raise TransientError(f"the transfer ended after {cursor.offset} of {stop} bytes")

    def _take(self, cursor: _Cursor, view: memoryview) -> None:
        while view:
            whole = cursor.index * CHUNK_SIZE + self._partial.length(cursor.index)
            part = view[: whole - cursor.offset]
            self._partial.write(cursor.offset, part)
            cursor.crc = zlib.crc32(part, cursor.crc)
            cursor.offset += len(part)
            self._arrived += len(part)
            view = view[len(part) :]
            if cursor.offset == whole:
                self._finish(cursor.index, cursor.crc)
                cursor.crc, cursor.index = 0, cursor.index + 1

    def _finish(self, index: int, crc: int) -> None:
        self._partial.finish(index, crc)
        with self._changed:
            here = self._partial.count - len(self._partial.missing)
            self._listener.progress(min(here * CHUNK_SIZE, self._partial.size), self._partial.size)
            self._changed.notify_all()
