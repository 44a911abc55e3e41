"""Blocks whose levels stand in a table: IQ4_NL, IQ4_XS, MXFP4; and ternary ones: TQ1_0, TQ2_0. From ggml-quants.c."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from lftool_strict.kernels.block import OVERFLOW, Kernel
from lftool_strict.kernels.rounding import nearest_of, to_half, to_int_or_least
from lftool_strict.kernels.search import eps, largest
from lftool_strict.kernels.weights import block_squares, important_weights
from lftool_strict.lanes.values import BYTE

if TYPE_CHECKING:
    from lftool_strict.kernels.block import Block
    from lftool_strict.kernels.search import Vectors
    from lftool_strict.lanes.program import Array, Program
    from lftool_strict.lanes.values import Value

_QK = 256
# kvalues_iq4nl and kvalues_mxfp4 of ggml-common.h
_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_FP4 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
# Exact in binary32; `best_index_int8` chooses the upper of two values where they are equally near.
_MIDPOINTS = tuple((low + high) / 2 for low, high in pairwise(_IQ4))
_TRIES = 7


def _iq4_value(p: Program, x: Value) -> Value:
    """Return the table's value nearest to `x`."""
    found = p.f32(_IQ4[0])
    for midpoint, value in zip(_MIDPOINTS, _IQ4[1:], strict=True):
        found = p.select(x < midpoint, found, float(value))
    return found


def _iq4_index(p: Program, x: Value) -> Value:
    """Return the index of the table's value nearest to `x`, 15 for NaN."""
    found = p.i32(len(_MIDPOINTS))
    for midpoint in _MIDPOINTS:
        found = found - p.widen(x < midpoint)
    return found


def _iq4_scale(block: Block, x: Vectors, w: Vectors) -> tuple[Value, Value]:
    """Return the scale of 32 weights, 0 for a group of zeros: weighted least squares over 16 candidates.

    And the inverse scale of the best candidate.
    """
    p = block.p
    top, magnitude = largest(p, x)

    def sums(inverse: Value, turn: str) -> list[Value]:
        def step(index: Value | int, qx: Value, q2: Value) -> tuple[Value, Value]:
            value = _iq4_value(p, inverse * x[index])
            weighted = w[index] * value
            return (
                p.multiply_add(f"iq4.{turn}.qx", weighted, x[index], qx),
                p.multiply_add(f"iq4.{turn}.q2", weighted, value, q2),
            )

        return p.fold(len(x), (p.f32(0.0), p.f32(0.0)), step)

    first = p.f32(1.0) / (-top / float(_IQ4[0]))
    qx, q2 = sums(first, "first")
    start = p.select(q2 > 0.0, qx / q2, 0.0)
    scale, best, kept = p.variable(start), p.variable(start * qx), p.variable(first)
    table = p.table([float(step + _IQ4[0]) for step in range(-_TRIES, _TRIES + 1)])
    with p.loop(2 * _TRIES + 1) as step:
        candidate = p.look_up(table, step) / top
        qx, q2 = sums(candidate, "next")
        better = (q2 > 0.0) & (qx * qx > best.get() * q2)
        quotient = qx / q2
        scale.set_where(better, quotient)
        best.set_where(better, quotient * qx)
        kept.set_where(better, candidate)
    return p.select(magnitude < eps(p), 0.0, scale.get()), kept.get()


def _iq4_scales(block: Block) -> tuple[Array, Array]:
    """Return the scales of all groups, and the inverse scales that they were found with."""
    p, count = block.p, block.kernel.elements // 32
    sigma = block_squares(block) * (2.0 / block.kernel.elements)
    scales, inverses = p.array(count), p.array(count)
    with p.loop(count) as group:
        x = block.x.part(group * 32, 32)
        if block.importance is not None:
            w = important_weights(block, x, block.importance.part(group * 32, 32), sigma)
        else:
            w = p.array(32)

            def weigh(index: Value | int, x: Vectors = x, w: Array = w) -> None:
                w[index] = x[index] * x[index]

            p.each(32, weigh)
        scales[group], inverses[group] = _iq4_scale(block, x, w)
    return scales, inverses


def write_iq4_nl(block: Block) -> None:
    """Append the work of IQ4_NL."""
    p = block.p
    scales, inverses = _iq4_scales(block)
    scale = scales[0]
    inverse = p.select(scale != 0.0, p.f32(1.0) / scale, 0.0)
    if p.does("old.levels"):
        inverse = p.select(scale != 0.0, inverses[0], 0.0)
    block.put_half(0, to_half(p, scale))
    for index in range(16):
        low, high = (_iq4_index(p, inverse * block.x[place]) for place in (index, index + 16))
        block.put(2 + index, low | (high << 4))


def write_iq4_xs(block: Block) -> None:
    """Append the work of IQ4_XS."""
    p = block.p
    scales, _ = _iq4_scales(block)
    top, _ = largest(p, scales)
    d = -top / 32.0
    inverse = p.select(d != 0.0, p.f32(1.0) / d, 0.0)
    block.put_half(0, to_half(p, d))
    six, inverses = [], p.array(8)
    for j in range(8):
        found = p.maximum(p.minimum(nearest_of(p, "block.scale", inverse, scales[j]), 31), -32)
        rounded = d * p.to_float(found)
        inverses[j] = p.select(rounded != 0.0, p.f32(1.0) / rounded, 0.0)
        six.append(found + 32)
    for byte in range(2):
        packed = p.i32(0)
        for j in range(4):
            packed = packed | ((six[4 * byte + j] >> 4) << (2 * j))
        block.put(2 + byte, packed)
    for j in range(4):
        block.put(4 + j, (six[2 * j] & 0xF) | ((six[2 * j + 1] & 0xF) << 4))
    with p.loop(8) as group:
        x, by = block.x.part(group * 32, 32), inverses[group]

        def pack(index: Value | int, x: Vectors = x, by: Value = by, group: Value = group) -> None:
            low, high = (_iq4_index(p, by * x[place]) for place in (index, index + 16))
            block.put(group * 16 + 8 + index, low | (high << 4))

        p.each(16, pack)


def _log2_carries() -> list[tuple[int, int]]:
    """Return (exponent, how far below the next power of two) where a correctly rounded `log2f` gives the next integer.

    Closer to 2**(k+1) than half a unit of binary32 around k+1, `floorf(log2f(x))` is k+1, not k.
    """
    found = []
    for exponent in range(-126, 128):
        following = exponent + 1
        steps = 0
        if following:
            # The distance of binary32 numbers just below `following`, in magnitude above it when negative.
            size = abs(following)
            ulp = 2.0 ** (math.frexp(size)[1] - 24)
            if following > 0 and size == 2 ** (size.bit_length() - 1):
                ulp /= 2
            while -math.log2(1 - (steps + 1) * 2.0**-24) < ulp / 2:
                steps += 1
        found.append((exponent, steps))
    return found


def _floor_log2(p: Program, x: Value) -> Value:
    """Return `floorf(log2f(x))` of positive floats as integers; subnormal ones are scaled first."""
    small = x < 2.0**-126
    bits = p.bits(p.select(small, x * 2.0**24, x))
    exponent = (bits >> 23) - 127
    below = 0x00800000 - (bits & 0x007FFFFF)
    allowed = p.i32(0)
    last = 0
    for at, steps in _log2_carries():
        if steps != last:
            allowed = p.select(exponent >= at, steps, allowed)
            last = steps
    exponent = exponent + p.widen(below <= allowed)
    return exponent - p.widen(small) * 24


def write_mxfp4(block: Block) -> None:
    """Append the work of MXFP4: a power of two per 32 weights, and the nearest of 16 values."""
    p = block.p
    _, magnitude = largest(p, block.x)
    exponent = p.select(magnitude > 0.0, _floor_log2(p, magnitude) + (127 - 2), 0) & 0xFF
    block.report(exponent == 0xFF, OVERFLOW)  # below 2**-125; llama.cpp refuses such blocks
    block.put(0, exponent)
    normal = (exponent - 1) << 23
    scale = p.from_bits(p.select(exponent == 0, 0x00200000, p.select(exponent == 1, 0x00400000, normal)))
    values = [scale * float(value) for value in _FP4]

    def index_of(x: Value) -> Value:
        best, least = p.i32(0), p.absolute(values[0] - x)
        for index, value in enumerate(values[1:], 1):
            error = p.absolute(value - x)
            nearer = error < least
            best, least = p.select(nearer, index, best), p.select(nearer, error, least)
        return best

    def pack(index: Value | int) -> None:
        block.put(p.index(index) + 1, index_of(block.x[index]) | (index_of(block.x[index + 16]) << 4))

    p.each(16, pack, 4)


def _trits(block: Block) -> Array:
    """Write the scale's inverse times each weight, rounded, counted from 0: levels of ternary types."""
    p = block.p
    levels = p.array(_QK, BYTE)
    top = p.variable(0.0)
    with p.loop(8) as group:
        part, found = block.x.part(group * 32, 32), top.get()
        for index in range(32):
            found = p.maximum(found, p.absolute(part[index]))
        top.set(found)
    d = top.get()
    inverse = p.select(d != 0.0, p.f32(1.0) / d, 0.0)
    with p.loop(_QK) as at:
        found = to_int_or_least(p, p.round_half_away(block.x[at] * inverse))
        # lroundf has 64 bits; the low 32 are kept, so what is out of range becomes 0.
        levels[at] = p.to_byte(p.select(found == -0x80000000, 0, found) + 1)
    block.put_half(block.kernel.size - 2, to_half(p, d))
    return levels


def _base_three(p: Program, trits: list[Value], *, last: bool) -> Value:
    packed = p.i32(0)
    for trit in trits:
        packed = (packed * 3 + p.widen(trit)) & 0xFF
    if last:
        packed = (packed * 3) & 0xFF
    return (packed * 256 + 242) // 243


def write_tq1_0(block: Block) -> None:
    """Append the work of TQ1_0: five trits a byte."""
    p = block.p
    levels = _trits(block)
    with p.loop(32) as at:
        block.put(at, _base_three(p, [levels[at + 32 * n] for n in range(5)], last=False))
    with p.loop(16) as at:
        trits = [levels[at + (160 + 16 * n)] for n in range(5)]
        block.put(at + 32, _base_three(p, trits, last=False))
    for byte in range(4):
        block.put(48 + byte, _base_three(p, [levels[240 + byte + 4 * n] for n in range(4)], last=True))


def write_tq2_0(block: Block) -> None:
    """Append the work of TQ2_0: four trits a byte."""
    p = block.p
    levels = _trits(block)
    with p.loop(2) as half:
        for index in range(32):
            one = [levels[half * 128 + (index + 32 * n)] & 3 for n in range(4)]
            block.put(half * 32 + index, one[0] | (one[1] << 2) | (one[2] << 4) | (one[3] << 6))


TABLE_KERNELS = {
    "IQ4_NL": Kernel(elements=32, size=18, write=write_iq4_nl),
    "IQ4_XS": Kernel(elements=_QK, size=136, write=write_iq4_xs),
    "MXFP4": Kernel(elements=32, size=17, write=write_mxfp4, importance=False),
    "TQ1_0": Kernel(elements=_QK, size=54, write=write_tq1_0, importance=False),
    "TQ2_0": Kernel(elements=_QK, size=66, write=write_tq2_0, importance=False),
}
