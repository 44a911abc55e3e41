"""Weights that stay floats: F32, F16 and BF16 from one another, `width` at a time as they lie in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool_strict.kernels.block import NOT_FINITE, OVERFLOW, program_name
from lftool_strict.kernels.rounding import to_half
from lftool_strict.lanes.program import Program
from lftool_strict.lanes.tiles import SOURCE_BYTES, load_floats, store_vector
from lftool_strict.lanes.values import INT, SHORT, Value

if TYPE_CHECKING:
    from lftool_strict.lanes.machine import Machine

_INFINITY = 0x7F800000
_HALF_INFINITY = 0x7C00
_BRAIN_INFINITY = 0x7F80


def _to_brain(p: Program, value: Value) -> Value:
    """Return the bits of bfloat16 of finite floats, ties to even: `ggml_compute_fp32_to_bf16`."""
    bits = p.bits(value)
    return (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16


def float_program(name: str, kind: str, machine: Machine) -> str:
    """Return the LLVM assembly that turns `end` weights of type `kind` into type `name`.

    It works in whole vectors: both buffers have room for `width` - 1 more.
    """
    program = Program(program_name(name, kind, important=False, exact=False), machine)
    given = program.arguments
    reports = program.variable(program.i32(0))
    with program.loop((given["end"] + (program.width - 1)) // program.width) as step:
        first = step * program.width
        value = load_floats(program, given["source"], first * SOURCE_BYTES[kind], kind)
        found = program.widen((program.bits(value) & 0x7FFFFFFF) >= _INFINITY) * NOT_FINITE
        if name == "F32":
            out, size = program.bits(value), 4
        else:
            out, size = (to_half if name == "F16" else _to_brain)(program, value), 2
            largest = _HALF_INFINITY if name == "F16" else _BRAIN_INFINITY
            found = found | (program.widen((out & largest) == largest) * OVERFLOW)
        reports.set(reports.get() | found)
        store_vector(program, given["output"], first * size, out, INT if size == 4 else SHORT)
    program.report(reports.get())
    return program.finish()
