"""Blocks of one scale: Q4_0 to Q8_0, Q1_0, Q2_0, as quantize_row_q*_ref and _impl of ggml-quants.c make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool_strict.kernels.block import Kernel
from lftool_strict.kernels.rounding import to_half, to_int_or_least
from lftool_strict.kernels.search import Steps, largest, scale_min_search, scale_search
from lftool_strict.kernels.weights import important_weights

if TYPE_CHECKING:
    from lftool_strict.kernels.block import Block
    from lftool_strict.lanes.program import Array, Program
    from lftool_strict.lanes.values import Value

_GROUP = 32
_FLOAT_MAX = 3.4028234663852886e38
_IMPORTANT = {bits: Steps(limit=2**bits - 1, first=-0.9, step=0.05, count=36) for bits in (4, 5)}


def _inverse(p: Program, d: Value) -> Value:
    return p.select(d != 0.0, p.f32(1.0) / d, 0.0)


def _signed_byte(p: Program, value: Value) -> Value:
    """Return floats cut to `int8_t`, as integers of 0 to 255."""
    return to_int_or_least(p, value) & 0xFF


def _limited(p: Program, byte: Value, limit: int) -> Value:
    """Return `MIN(limit, (int8_t) …)` as the `uint8_t` that it is stored in."""
    negative = byte > 127
    return p.select(negative, byte, p.minimum(byte, limit))


def _lowest_highest(p: Program, x: Array) -> tuple[Value, Value]:
    low, high = p.f32(_FLOAT_MAX), p.f32(-_FLOAT_MAX)
    for index in range(len(x)):
        low, high = p.select(x[index] < low, x[index], low), p.select(x[index] > high, x[index], high)
    return low, high


def _important_levels(block: Block, bits: int, *, minimum: bool) -> tuple[Value, Value | None, list[Value]]:
    """Return scale, minimum and levels for an importance matrix; weights take the mean square of the whole row."""
    p, x = block.p, block.x
    if block.importance is None or block.sigma is None:
        raise ValueError("an importance matrix is needed")
    w = important_weights(block, x, block.importance, block.sigma)
    if minimum:
        lowest = scale_min_search(block, x, w, _IMPORTANT[bits])
        return lowest.scale, -lowest.minimum, [p.to_int(lowest.levels(p, x[index])) for index in range(_GROUP)]
    found = scale_search(p, x, w, 2 ** (bits - 1))
    return found.scale, None, [p.to_int(found.levels(p, x[index])) for index in range(_GROUP)]


def _plain_levels(block: Block, bits: int, *, minimum: bool) -> tuple[Value, Value | None, list[Value]]:
    p, x = block.p, block.x
    limit = 2**bits - 1
    if minimum:
        low, high = _lowest_highest(p, x)
        d = (high - low) / float(limit)
        inverse = _inverse(p, d)
        half = p.f32(0.5)
        found = [p.multiply_add("round", x[index] - low, inverse, half) for index in range(_GROUP)]
        # Q5_1 casts to an unsigned byte and does not limit it.
        whole = [to_int_or_least(p, one) & 0xFF for one in found]
        return d, low, whole if bits == 5 else [_limited(p, one, limit) for one in whole]
    top, _ = largest(p, x)
    d = top / float(-(2 ** (bits - 1)))
    inverse = _inverse(p, d)
    half = p.f32(2.0 ** (bits - 1) + 0.5)
    found = [p.multiply_add("round", x[index], inverse, half) for index in range(_GROUP)]
    return d, None, [_limited(p, _signed_byte(p, one), limit) for one in found]


def _write_nibbles(block: Block, bits: int, *, minimum: bool) -> None:
    p = block.p
    make = _plain_levels if block.importance is None else _important_levels
    d, low, levels = make(block, bits, minimum=minimum)
    block.put_half(0, to_half(p, d))
    place = 2
    if low is not None:
        block.put_half(place, to_half(p, low))
        place += 2
    if bits == 5:
        for byte in range(4):
            packed = p.i32(0)
            for bit in range(8):
                packed = packed | (((levels[8 * byte + bit] >> 4) & 1) << bit)
            block.put(place + byte, packed)
        place += 4
    for index in range(_GROUP // 2):
        upper = levels[index + 16] << 4
        if bits == 4:
            block.put(place + index, levels[index] | upper)
        else:
            block.put(place + index, (levels[index] & 0xF) | upper)


def write_q4_0(block: Block) -> None:
    """Append the work of Q4_0."""
    _write_nibbles(block, 4, minimum=False)


def write_q4_1(block: Block) -> None:
    """Append the work of Q4_1."""
    _write_nibbles(block, 4, minimum=True)


def write_q5_0(block: Block) -> None:
    """Append the work of Q5_0."""
    _write_nibbles(block, 5, minimum=False)


def write_q5_1(block: Block) -> None:
    """Append the work of Q5_1."""
    _write_nibbles(block, 5, minimum=True)


def _magnitude(p: Program, x: Array) -> Value:
    """Return the largest magnitude of a block; loops at run time keep large blocks small in code."""
    found = p.variable(0.0)
    step = 32
    with p.loop(len(x) // step) as group:
        part, top = x.part(group * step, step), found.get()
        for index in range(step):
            top = p.maximum(top, p.absolute(part[index]))
        found.set(top)
    return found.get()


def write_q8_0(block: Block) -> None:
    """Append the work of Q8_0."""
    p = block.p
    d = _magnitude(p, block.x) / 127.0
    inverse = _inverse(p, d)
    block.put_half(0, to_half(p, d))
    for index in range(_GROUP):
        block.put(2 + index, to_int_or_least(p, p.round_half_away(block.x[index] * inverse)))


def write_q1_0(block: Block) -> None:
    """Append the work of Q1_0: signs, and the mean magnitude of 128 weights."""
    p = block.p
    total = p.variable(0.0)
    with p.loop(4) as group:
        part, running = block.x.part(group * 32, 32), total.get()
        for index in range(32):
            running = running + p.absolute(part[index])
        total.set(running)
        for byte in range(4):
            packed = p.i32(0)
            for bit in range(8):
                packed = packed | (p.widen(part[8 * byte + bit] >= 0.0) << bit)
            block.put(group * 4 + (2 + byte), packed)
    block.put_half(0, to_half(p, total.get() / 128.0))


def write_q2_0(block: Block) -> None:
    """Append the work of Q2_0: levels -1 to 2 of the largest magnitude of 64 weights."""
    p = block.p
    d = _magnitude(p, block.x)
    inverse = p.select(d > 0.0, p.f32(1.0) / d, 0.0)
    block.put_half(0, to_half(p, d))
    for byte in range(16):
        packed = p.i32(0)
        for part in range(4):
            found = to_int_or_least(p, p.round_half_away(block.x[4 * byte + part] * inverse)) + 1
            packed = packed | (p.minimum(p.maximum(found, 0), 3) << (2 * part))
        block.put(2 + byte, packed)


SMALL_KERNELS = {
    "Q1_0": Kernel(elements=128, size=18, write=write_q1_0, importance=False),
    "Q2_0": Kernel(elements=64, size=18, write=write_q2_0, importance=False),
    "Q4_0": Kernel(elements=_GROUP, size=18, write=write_q4_0, row_sigma=True),
    "Q4_1": Kernel(elements=_GROUP, size=20, write=write_q4_1, row_sigma=True),
    "Q5_0": Kernel(elements=_GROUP, size=22, write=write_q5_0, row_sigma=True),
    "Q5_1": Kernel(elements=_GROUP, size=24, write=write_q5_1, row_sigma=True),
    "Q8_0": Kernel(elements=_GROUP, size=34, write=write_q8_0, importance=False),
}
