"""Kernels of a device behind the interface of those of `strict`: called with addresses in this machine's memory."""

from __future__ import annotations

import ctypes
import threading
from typing import Any, Protocol

from attrs import frozen

from lftool_cuda.ptx import kernel_ptx
from lftool_strict.compiled import SIGMA
from lftool_strict.kernels.block import program_name
from lftool_strict.kernels.neighbours import tables
from lftool_strict.kernels.registry import FLOATS, KERNELS
from lftool_strict.lanes.tiles import SOURCE_BYTES


@frozen
class Span:
    """Some bytes of this machine's memory."""

    address: int
    size: int


@frozen(kw_only=True)
class Launch:
    """One run of a kernel over some blocks.

    Attributes:
        inputs: Weights, importance and what else a kernel reads; None where there is none.
        output: Receives the blocks.
        count: How many blocks, or rows, or weights: one a thread.
        per_row: Blocks in a row; of `SIGMA`, weights.
    """

    inputs: tuple[Span | None, Span | None, Span | None]
    output: Span
    count: int
    per_row: int


class Device(Protocol):
    """What runs kernels; several threads use it."""

    def load(self, ptx: str, name: str) -> Any:  # noqa: ANN401 - the device's own
        """Return a function of a program."""

    def launch(self, function: Any, what: Launch) -> int:  # noqa: ANN401 - as above
        """Copy the inputs over, run the function, copy the output back, and return the flags that it reported."""


@frozen
class DeviceKernel:
    """A loaded kernel; `call` takes what compiled kernels of `strict` take."""

    device: Device
    function: Any
    name: str
    kind: str

    def call(
        self,
        source: int,
        importance: int | None,
        extra: int | None,
        output: int,
        begin: int,
        end: int,
        per_row: int,
        flags: int,
    ) -> None:
        """Make blocks `begin` to `end`; `begin` is 0."""
        del begin
        elements, size, row = self._sizes(per_row)
        launch = Launch(
            inputs=(
                Span(source, end * elements * SOURCE_BYTES[self.kind]),
                None if importance is None else Span(importance, 4 * row),
                None if extra is None else Span(extra, self._extra_size(end, per_row)),
            ),
            output=Span(output, end * size),
            count=end,
            per_row=per_row,
        )
        place = ctypes.cast(flags, ctypes.POINTER(ctypes.c_int32))
        place[0] |= self.device.launch(self.function, launch)

    def _extra_size(self, blocks: int, per_row: int) -> int:
        """Return how many bytes the kernel reads besides weights and importance: a grid's tables, or a number for each row."""
        grid = KERNELS[self.name].grid if self.name in KERNELS else None
        return 4 * -(-blocks // per_row) if grid is None else tables(grid).size

    def _sizes(self, per_row: int) -> tuple[int, int, int]:
        """Return weights and bytes of a block, and weights of a row."""
        if self.name == SIGMA:
            return per_row, 4, per_row
        if self.name in FLOATS:
            return 1, SOURCE_BYTES[self.name], 1
        kernel = KERNELS[self.name]
        return kernel.elements, kernel.size, kernel.elements * per_row


class DeviceKernels:
    """Kernels of a device, loaded when they are first asked for; threads share them."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._loaded: dict[str, DeviceKernel] = {}
        self._lock = threading.Lock()

    def get(self, name: str, kind: str, *, important: bool = False, exact: bool = False) -> DeviceKernel:
        """Return a kernel; see `lftool_strict.compiled.assembly`."""
        full = program_name(name, kind, important=important, exact=exact)
        with self._lock:
            if full not in self._loaded:
                ptx = kernel_ptx(name, kind, important=important, exact=exact)
                function = self._device.load(ptx, f"{full}_kernel")
                self._loaded[full] = DeviceKernel(self._device, function, name, kind)
            return self._loaded[full]
