"""Slabs with their weights, one after the other: read from a file when they are asked for, or ahead from a pipe."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from lftool.api import FormatError
from lftool_strict.slabs import Slab

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_SLACK = 4096  # kernels that work in whole vectors read and write a little further
_AHEAD = 4


class Buffer:
    """Page-aligned memory that grows."""

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None
        self.address = 0

    def of(self, size: int) -> memoryview:
        """Return room for `size` bytes; what was there is lost when it grows."""
        if self._map is None or len(self._map) < size + _SLACK:
            self._map = mmap.mmap(-1, size + _SLACK)
            self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        return memoryview(self._map)[:size]


@frozen
class Fed:
    """A slab and its weights."""

    slab: Slab
    weights: Buffer


class Feed(Protocol):
    """Where slabs come from; several threads take them."""

    def take(self) -> Fed | None:
        """Return the next slab; None when there is none.

        Raises:
            FormatError: The weights are not there.
        """

    def give_back(self, fed: Fed) -> None:
        """Let the memory of a slab be used again."""


class FileFeed:
    """Weights in a file; each thread reads for itself."""

    def __init__(self, descriptor: int, slabs: Sequence[Slab]) -> None:
        self._descriptor = descriptor
        self._slabs: Iterator[Slab] = iter(slabs)
        self._lock = threading.Lock()
        self._free: list[Buffer] = []

    def take(self) -> Fed | None:
        """Return the next slab, read now."""
        with self._lock:
            slab = next(self._slabs, None)
            if slab is None:
                return None
            buffer = self._free.pop() if self._free else Buffer()
        into, offset = buffer.of(slab.size(slab.source)), slab.read
        while into:
            count = os.preadv(self._descriptor, [into], offset)
            if not count:
                raise FormatError("the weights became shorter while they were read")
            into, offset = into[count:], offset + count
        return Fed(slab, buffer)

    def give_back(self, fed: Fed) -> None:
        """Let the memory of a slab be used again."""
        with self._lock:
            self._free.append(fed.weights)


class PipeFeed:
    """Weights that come through a pipe, as they lie in the file; a thread of its own reads a few slabs ahead."""

    def __init__(self, descriptor: int, slabs: Sequence[Slab], threads: int) -> None:
        self._descriptor = descriptor
        self._position = 0
        self._free: SimpleQueue[Buffer] = SimpleQueue()
        self._full: SimpleQueue[Fed | BaseException | None] = SimpleQueue()
        for _ in range(threads + _AHEAD):
            self._free.put(Buffer())
        ordered = sorted(slabs, key=lambda slab: slab.read)
        threading.Thread(target=self._read, args=(ordered,), daemon=True).start()

    def _read(self, slabs: Sequence[Slab]) -> None:
        try:
            passed = memoryview(bytearray(1 << 20))
            for slab in slabs:
                buffer = self._free.get()
                while self._position < slab.read:
                    self._fill(passed[: slab.read - self._position])
                self._fill(buffer.of(slab.size(slab.source)))
                self._full.put(Fed(slab, buffer))
        except BaseException as error:  # noqa: BLE001 - raised again by a thread that takes it
            self._full.put(error)
        else:
            self._full.put(None)

    def _fill(self, into: memoryview) -> None:
        while into:
            count = os.readv(self._descriptor, [into])
            if not count:
                raise FormatError("the weights ended before the last tensor")
            into, self._position = into[count:], self._position + count

    def take(self) -> Fed | None:
        """Return the next slab that has been read."""
        found = self._full.get()
        if isinstance(found, Fed):
            return found
        self._full.put(found)  # for the other threads
        if found is None:
            return None
        raise found

    def give_back(self, fed: Fed) -> None:
        """Let the memory of a slab be used again."""
        self._free.put(fed.weights)
