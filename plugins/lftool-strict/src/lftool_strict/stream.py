"""Read slabs, make blocks of them, write them where they belong: on several threads, in little memory.

Every size is known before: threads write to their own places of the output, in any order, and the file is the same.
"""

from __future__ import annotations

import ctypes
import os
import threading
import warnings
from typing import TYPE_CHECKING, Protocol

from lftool.api import FormatError, InputWarning
from lftool_strict.compiled import SIGMA, Kernels
from lftool_strict.feed import Buffer
from lftool_strict.kernels.block import MISPLACED, NOT_FINITE, OUT_OF_RANGE, OVERFLOW
from lftool_strict.kernels.neighbours import tables
from lftool_strict.kernels.registry import FLOATS, KERNELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool_strict.feed import Fed, Feed
    from lftool_strict.slabs import Slab, Work


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


def _address(values: object) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(values))  # type: ignore[arg-type]  # an array or an mmap


class AnyKernel(Protocol):
    """A compiled kernel."""

    @property
    def call(self) -> Callable[..., None]:
        """Call it with weights, importance, what else it reads, output (addresses), begin, end, blocks a row, address of flags."""


class AnyKernels(Protocol):
    """Where kernels come from; threads share it."""

    def get(self, name: str, kind: str, *, important: bool = False, exact: bool = False) -> AnyKernel:
        """Return a kernel; see `lftool_strict.compiled.assembly`."""


class _Worker:
    """One thread's buffers."""

    def __init__(self, kernels: AnyKernels, output: int) -> None:
        self._kernels, self._output = kernels, output
        self._blocks, self._sigma = Buffer(), Buffer()
        self.misplaced: set[str] = set()

    def treat(self, fed: Fed) -> None:
        """Convert and write a slab."""
        slab = fed.slab
        weights = fed.weights.of(slab.size(slab.source))
        if slab.source == slab.made and slab.source not in FLOATS:
            _write_all(self._output, weights, slab.written)
            return
        blocks = self._blocks.of(slab.size(slab.made))
        flags = self._make(fed, exact=False)
        if flags & OUT_OF_RANGE:
            flags = self._make(fed, exact=True)
        if flags & NOT_FINITE:
            raise FormatError(
                f"tensor {slab.name}: a weight is infinite or not a number",
                hints=("it would spoil its whole block when quantised; repair the weights",),
            )
        if flags & OVERFLOW:
            raise FormatError(
                f"tensor {slab.name}: its weights are too large, or too small, for the scales of {slab.made}",
                hints=("give this tensor the type F32 under `overrides`",),
            )
        if flags & MISPLACED:
            self.misplaced.add(slab.name)
        _write_all(self._output, blocks if slab.source != slab.made else weights, slab.written)

    def _make(self, fed: Fed, *, exact: bool) -> int:
        """Run the kernel of a slab and return what it reports."""
        flags = ctypes.c_int32(0)
        place, slab = ctypes.addressof(flags), fed.slab
        weights, blocks = fed.weights.address, self._blocks.address
        count = slab.rows * slab.columns
        if slab.made in FLOATS:
            kernel = self._kernels.get(slab.made, slab.source)
            kernel.call(weights, None, None, blocks, 0, count, 0, place)
            return flags.value
        made = KERNELS[slab.made]
        important = made.importance and slab.importance is not None
        importance, extra = None, None
        if made.grid is not None:
            extra = tables(made.grid).address
        if important and slab.importance is not None:
            importance = _address(slab.importance) + 4 * slab.expert * slab.columns
            if made.row_sigma:
                self._sigma.of(4 * slab.rows)
                extra = self._sigma.address
                kernel = self._kernels.get(SIGMA, slab.source)
                kernel.call(weights, None, None, extra, 0, slab.rows, slab.columns, place)
        kernel = self._kernels.get(slab.made, slab.source, important=important, exact=exact)
        per_row = slab.columns // made.elements
        kernel.call(weights, importance, extra, blocks, 0, count // made.elements, per_row, place)
        return flags.value


class _Progress:
    """Which tensors are done; the first error ends it all."""

    def __init__(self, slabs: Sequence[Slab], progress: Callable[[str, int, int], None]) -> None:
        self._lock = threading.Lock()
        self._left: dict[int, int] = {}
        for slab in slabs:
            self._left[slab.tensor] = self._left.get(slab.tensor, 0) + 1
        self._count, self._done = len(self._left), 0
        self._progress = progress
        self.error: BaseException | None = None

    def finished(self, slab: Slab) -> None:
        with self._lock:
            self._left[slab.tensor] -= 1
            if not self._left[slab.tensor]:
                self._done += 1
                self._progress(slab.name, self._done, self._count)

    def failed(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error


def _work(feed: Feed, worker: _Worker, progress: _Progress) -> None:
    try:
        while progress.error is None and (fed := feed.take()) is not None:
            worker.treat(fed)
            feed.give_back(fed)
            progress.finished(fed.slab)
    except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
        progress.failed(error)


def stream(
    work: Work,
    header: bytes,
    feed: Feed,
    output: int,
    threads: int,
    progress: Callable[[str, int, int], None],
    kernels: AnyKernels | None = None,
) -> None:
    """Write the whole output.

    Args:
        work: What to do.
        header: Of the output.
        feed: Its slabs.
        output: Descriptor of an empty file.
        threads: How many slabs to treat at a time.
        progress: Called as progress(tensor, tensors done, tensors in all) when a tensor is complete.
        kernels: What makes blocks; this processor's kernels by default.

    Raises:
        FormatError: A weight is not finite, or too large for its type.
        OSError: It cannot be read or written.
    """
    os.truncate(output, work.size)
    _write_all(output, memoryview(header), 0)
    kernels = kernels or Kernels()
    state = _Progress(work.slabs, progress)
    workers = [_Worker(kernels, output) for _ in range(threads)]
    runners = [threading.Thread(target=_work, args=(feed, worker, state), daemon=True) for worker in workers]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    if state.error is not None:
        raise state.error
    _tell_misplaced(set().union(*(worker.misplaced for worker in workers)))


def _tell_misplaced(names: set[str]) -> None:
    """Warn about tensors that a fault of llama.cpp spoils, which is part of the arithmetic."""
    if names:
        first, more = min(names), len(names) - 1
        also = f" and {more} more" if more else ""
        warnings.warn(
            f"tensor {first}{also}: 32 weights in a row are zero, and IQ3_S as llama.cpp makes it stores those behind them"
            " in the wrong place; give them another type under `overrides`",
            InputWarning,
            stacklevel=1,
        )
