"""Compiled kernels of this process: each made once, when it is first needed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lftool_strict.kernels.block import block_program, program_name, sigma_program
from lftool_strict.kernels.floats import float_program
from lftool_strict.kernels.registry import FLOATS, KERNELS
from lftool_strict.lanes.machine import Loaded, object_code, this_machine

if TYPE_CHECKING:
    from lftool_strict.lanes.machine import Machine

SIGMA = "SIGMA"


def assembly(
    name: str,
    kind: str,
    machine: Machine,
    *,
    important: bool = False,
    exact: bool = False,
    fused: frozenset[str] = frozenset(),
) -> str:
    """Return the LLVM assembly of a kernel.

    Args:
        name: Of the type that it makes, or `SIGMA`.
        kind: Type of the weights: `F32`, `F16` or `BF16`.
        machine: The processor to write it for.
        important: With an importance matrix.
        exact: The slower variant, for numbers that the other reports as out of range.
        fused: Places where a multiplication and an addition are one operation; see `lftool_strict.arithmetics`.
    """
    if name == SIGMA:
        return sigma_program(kind, machine, fused)
    if name in FLOATS:
        return float_program(name, kind, machine)
    return block_program(name, KERNELS[name], kind, machine, important=important, exact=exact, fused=fused)


class Kernels:
    """Kernels for this machine, compiled when they are first asked for; threads share them.

    Args:
        fused: Places where a multiplication and an addition are one operation; see `lftool_strict.arithmetics`.
    """

    def __init__(self, fused: frozenset[str] = frozenset()) -> None:
        self._machine, self._fused = this_machine(), fused
        self._loaded: dict[str, Loaded] = {}
        self._locks: dict[str, threading.Lock] = {}

    def get(self, name: str, kind: str, *, important: bool = False, exact: bool = False) -> Loaded:
        """Return a kernel; see `assembly`."""
        full = program_name(name, kind, important=important, exact=exact)
        with self._locks.setdefault(full, threading.Lock()):  # one thread compiles, others may need another kernel
            if full not in self._loaded:
                text = assembly(name, kind, self._machine, important=important, exact=exact, fused=self._fused)
                self._loaded[full] = Loaded(object_code(text, self._machine), full)
            return self._loaded[full]
