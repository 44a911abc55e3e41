"""Read slabs, make blocks of them, write them where they belong: on several threads, in little memory.

Every size is known before: threads write to their own places of the output, in any order, and the file is the same.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from typing import TYPE_CHECKING

from lftool.errors import FormatError
from lftool_strict.compiled import SIGMA, Kernels
from lftool_strict.kernels.block import NOT_FINITE, OUT_OF_RANGE, OVERFLOW
from lftool_strict.kernels.registry import FLOATS, KERNELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lftool_strict.slabs import Slab, Work

_SLACK = 4096  # kernels that work in whole vectors read and write a little further


class _Buffer:
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


def _read_all(descriptor: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(descriptor, [into], offset)
        if not count:
            raise FormatError("the weights became shorter while they were read")
        into, offset = into[count:], offset + count


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


def _address(values: object) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(values))  # type: ignore[arg-type]  # an array or an mmap


class _Worker:
    """One thread's buffers."""

    def __init__(self, kernels: Kernels, source: int, output: int) -> None:
        self._kernels, self._source, self._output = kernels, source, output
        self._weights, self._blocks, self._sigma = _Buffer(), _Buffer(), _Buffer()

    def treat(self, slab: Slab) -> None:
        """Read, convert and write one slab."""
        weights = self._weights.of(slab.size(slab.source))
        _read_all(self._source, weights, slab.read)
        if slab.source == slab.made and slab.source not in FLOATS:
            _write_all(self._output, weights, slab.written)
            return
        blocks = self._blocks.of(slab.size(slab.made))
        flags = self._make(slab, exact=False)
        if flags & OUT_OF_RANGE:
            flags = self._make(slab, exact=True)
        if flags & NOT_FINITE:
            raise FormatError(
                f"tensor {slab.name}: a weight is infinite or not a number",
                hints=("quantised, it would spoil its whole block; repair the weights",),
            )
        if flags & OVERFLOW:
            raise FormatError(
                f"tensor {slab.name}: its weights are too large, or too small, for the scales of {slab.made}",
                hints=("give this tensor the type F32 under `overrides`",),
            )
        _write_all(self._output, blocks if slab.source != slab.made else weights, slab.written)

    def _make(self, slab: Slab, *, exact: bool) -> int:
        """Run the kernel of a slab and return what it reports."""
        flags = ctypes.c_int32(0)
        place = ctypes.addressof(flags)
        weights, blocks = self._weights.address, self._blocks.address
        count = slab.rows * slab.columns
        if slab.made in FLOATS:
            kernel = self._kernels.get(slab.made, slab.source)
            kernel.call(weights, None, None, blocks, 0, count, 0, place)
            return flags.value
        made = KERNELS[slab.made]
        important = made.importance and slab.importance is not None
        importance, sigma = None, None
        if important and slab.importance is not None:
            importance = _address(slab.importance) + 4 * slab.expert * slab.columns
            if made.row_sigma:
                self._sigma.of(4 * slab.rows)
                sigma = self._sigma.address
                kernel = self._kernels.get(SIGMA, slab.source)
                kernel.call(weights, None, None, sigma, 0, slab.rows, slab.columns, place)
        kernel = self._kernels.get(slab.made, slab.source, important=important, exact=exact)
        per_row = slab.columns // made.elements
        kernel.call(weights, importance, sigma, blocks, 0, count // made.elements, per_row, place)
        return flags.value


class _Queue:
    """Slabs to do, and which tensors are done; the first error ends it."""

    def __init__(self, slabs: Sequence[Slab], progress: Callable[[str, int, int], None]) -> None:
        self._slabs: Iterator[Slab] = iter(slabs)
        self._lock = threading.Lock()
        self._left: dict[int, int] = {}
        for slab in slabs:
            self._left[slab.tensor] = self._left.get(slab.tensor, 0) + 1
        self._count, self._done = len(self._left), 0
        self._progress = progress
        self.error: BaseException | None = None

    def take(self) -> Slab | None:
        with self._lock:
            return None if self.error is not None else next(self._slabs, None)

    def finished(self, slab: Slab) -> None:
        with self._lock:
            self._left[slab.tensor] -= 1
            if not self._left[slab.tensor]:
                self._done += 1
                self._progress(slab.name, self._done, self._count)

    def failed(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error


def _work(queue: _Queue, worker: _Worker) -> None:
    try:
        while (slab := queue.take()) is not None:
            worker.treat(slab)
            queue.finished(slab)
    except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
        queue.failed(error)


def stream(
    work: Work, header: bytes, source: int, output: int, threads: int, progress: Callable[[str, int, int], None]
) -> None:
    """Write the whole output.

    Args:
        work: What to do.
        header: Of the output.
        source: Descriptor of the weights.
        output: Descriptor of an empty file.
        threads: How many slabs to treat at a time.
        progress: Called as progress(tensor, tensors done, tensors in all) when a tensor is complete.

    Raises:
        FormatError: A weight is not finite, or too large for its type.
        OSError: It cannot be read or written.
    """
    os.truncate(output, work.size)
    _write_all(output, memoryview(header), 0)
    kernels = Kernels()
    queue = _Queue(work.slabs, progress)
    runners = [
        threading.Thread(target=_work, args=(queue, _Worker(kernels, source, output)), daemon=True)
        for _ in range(threads)
    ]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    if queue.error is not None:
        raise queue.error
