"""Super-blocks of 256 weights: Q2_K to Q6_K, as quantize_row_q*_K_ref and _impl of ggml-quants.c make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from lftool_strict.kernels.block import Kernel
from lftool_strict.kernels.rounding import half_to_float, level, nearest, to_half
from lftool_strict.kernels.search import (
    Scale,
    ScaleMin,
    Steps,
    Vectors,
    eps,
    improving,
    positive_scale_search,
    scale_min_search,
    scale_search,
)
from lftool_strict.kernels.weights import block_squares, important_weights, sum_of_squares, total_weight
from lftool_strict.lanes.values import BYTE, INT

if TYPE_CHECKING:
    from lftool_strict.kernels.block import Block
    from lftool_strict.lanes.program import Array, Part, Program
    from lftool_strict.lanes.values import Value

_QK = 256


@frozen
class Groups:
    """What the search found for every group of a super-block, in memory that a loop at run time can index."""

    scales: Array
    minima: Array
    inverses: Array
    origins: Array
    flats: Array
    totals: Array
    size: int

    @classmethod
    def of(cls, p: Program, size: int) -> Groups:
        """Return room for groups of `size` weights."""
        count = _QK // size
        return cls(*(p.array(count) for _ in range(4)), p.array(count, INT), p.array(count), size)

    def keep(self, group: Value, found: ScaleMin, p: Program) -> None:
        """Note what was found for a group."""
        self.scales[group], self.minima[group] = found.scale, found.minimum
        self.inverses[group], self.origins[group] = found.inverse, found.origin
        self.flats[group] = p.widen(found.flat)

    def found(self, group: Value, limit: int) -> ScaleMin:
        """Return what was found for a group."""
        return ScaleMin(
            scale=self.scales[group],
            minimum=self.minima[group],
            inverse=self.inverses[group],
            origin=self.origins[group],
            flat=self.flats[group] != 0,
            limit=limit,
        )


def _search(block: Block, size: int, plain: Steps, important: Steps) -> Groups:
    """Search scale and minimum of every group."""
    p = block.p
    groups = Groups.of(p, size)
    sigma = None
    if block.importance is not None:
        squares = block_squares(block)
        # Q2_K takes the mean, Q4_K and Q5_K twice the mean.
        sigma = squares / float(_QK) if size == 16 else squares * 2.0 / float(_QK)  # noqa: PLR2004 - the group of Q2_K
    with p.loop(_QK // size) as group:
        x = block.x.part(group * size, size)
        if block.importance is not None and sigma is not None:
            w = important_weights(block, x, block.importance.part(group * size, size), sigma)
            groups.totals[group] = total_weight(p, w, size)
            found = scale_min_search(block, x, w, important)
        else:
            w = p.array(size)
            average = None if size == 16 else p.sqrt(sum_of_squares(p, x) / float(size))  # noqa: PLR2004 - likewise
            for index in range(size):
                magnitude = p.absolute(x[index])
                w[index] = magnitude if average is None else average + magnitude
            found = scale_min_search(block, x, w, plain)
        groups.keep(group, found, p)
    return groups


def _top(p: Program, values: Array) -> Value:
    top = p.f32(0.0)
    for index in range(len(values)):
        top = p.select(values[index] > top, values[index], top)
    return top


def _requantise(block: Block, groups: Groups, group: Value, d: Value, minimum: Value, levels: Array, limit: int) -> None:
    """Write the levels of a group for its rounded scale and minimum; those of the search where the scale became zero."""
    p, size = block.p, groups.size
    x = block.x.part(group * size, size)
    out = levels.part(group * size, size)
    gone = d == 0.0
    largest = p.f32(0.0)
    for index in range(size):
        largest = p.maximum(largest, p.absolute(x[index] + minimum))
    block.require_range(largest / p.absolute(d), ~gone)
    for index in range(size):
        out[index] = p.to_byte(p.to_int(level(p, (x[index] + minimum) / d, 0, limit)))
    with p.if_any(gone):
        found = groups.found(group, limit)
        for index in range(size):
            kept = p.to_byte(p.to_int(found.levels(p, x[index])))
            out[index] = p.select(gone, kept, out[index])


def _packed_scales(p: Program, ls: list[Value], lm: list[Value]) -> list[Value]:
    """Return the 12 bytes that hold 8 scales and 8 minima of 6 bits, as 8-bit arithmetic makes them."""
    low = [ls[j] for j in range(4)] + [lm[j] for j in range(4)] + [p.i32(0)] * 4
    for j in range(4, 8):
        low[j + 4] = (ls[j] & 0xF) | ((lm[j] & 0xF) << 4)
        low[j - 4] = (low[j - 4] | ((ls[j] >> 4) << 6)) & 0xFF
        low[j] = (low[j] | ((lm[j] >> 4) << 6)) & 0xFF
    return low


def _unpacked_scales(q: list[Value]) -> tuple[list[Value], list[Value]]:
    """get_scale_min_k4 for all eight."""
    scales = [q[j] & 63 for j in range(4)]
    minima = [q[j + 4] & 63 for j in range(4)]
    for j in range(4, 8):
        scales.append((q[j + 4] & 0xF) | ((q[j - 4] >> 6) << 4))
        minima.append((q[j + 4] >> 4) | ((q[j] >> 6) << 4))
    return scales, minima


def _k45(block: Block, bits: int) -> None:
    p, limit = block.p, 2**bits - 1
    plain = Steps(limit=limit, first=-1.0, step=0.1, count=20) if bits == 4 else Steps(limit=limit, first=-0.5, step=0.1, count=15)  # noqa: PLR2004, E501 - ggml's choices
    groups = _search(block, 32, plain, Steps(limit=limit, first=-0.9, step=0.05, count=36))
    if block.importance is not None:
        d, ls = positive_scale_search(p, groups.scales, groups.totals, 63)
        dmin, lm = positive_scale_search(p, groups.minima, groups.totals, 63)
        if bits == 5:  # noqa: PLR2004 - only Q5_K limits them
            ls, lm = [p.minimum(one, 63) for one in ls], [p.minimum(one, 63) for one in lm]
    else:
        ls, lm = [], []
        halves = []
        for values, into in ((groups.scales, ls), (groups.minima, lm)):
            top = _top(p, values)
            inverse = p.select(top > 0.0, p.f32(63.0) / top, 0.0)
            into += [p.minimum(nearest(p, inverse * values[j]) & 0xFF, 63) for j in range(8)]
            halves.append(top / 63.0)
        d, dmin = halves
    packed = _packed_scales(p, list(ls), list(lm))
    d_half, dmin_half = to_half(p, d), to_half(p, dmin)
    block.put_half(0, d_half)
    block.put_half(2, dmin_half)
    for place, byte in enumerate(packed):
        block.put(4 + place, byte)
    scales, minima = _unpacked_scales(packed)
    rounded, lows = p.array(8), p.array(8)
    for j in range(8):
        rounded[j] = half_to_float(p, d_half) * p.to_float(scales[j])
        lows[j] = half_to_float(p, dmin_half) * p.to_float(minima[j])
    levels = p.array(_QK, BYTE)
    with p.loop(8) as group:
        _requantise(block, groups, group, rounded[group], lows[group], levels, limit)
    _pack_nibbles(block, levels, 16 if bits == 4 else 48)  # noqa: PLR2004 - the bytes before
    if bits == 5:  # noqa: PLR2004 - the fifth bits
        with p.loop(32) as index:
            high = [(levels[index + 32 * j] >> 4) << j for j in range(8)]
            byte = high[0]
            for one in high[1:]:
                byte = byte | one
            block.put(16 + index, byte)


def _pack_nibbles(block: Block, levels: Array, start: int) -> None:
    p = block.p
    with p.loop(4) as pair:
        low, high = levels.part(pair * 64, 32), levels.part(pair * 64 + 32, 32)
        for index in range(32):
            block.put(pair * 32 + (start + index), (low[index] & 0xF) | (high[index] << 4))


def _pack_pairs(block: Block, levels: Array, start: int) -> None:
    """Pack 2-bit levels as Q2_K and Q3_K do: four of 32 apart in a byte."""
    p = block.p
    with p.loop(2) as half:
        for index in range(32):
            one = [levels[half * 128 + (index + 32 * j)] for j in range(4)]
            byte = one[0] | (one[1] << 2) | (one[2] << 4) | (one[3] << 6)
            block.put(half * 32 + (start + index), byte)


def write_q4_k(block: Block) -> None:
    """Append the work of Q4_K."""
    _k45(block, 4)


def write_q5_k(block: Block) -> None:
    """Append the work of Q5_K."""
    _k45(block, 5)


def write_q2_k(block: Block) -> None:
    """Append the work of Q2_K."""
    p = block.p
    plain = Steps(limit=3, first=-0.5, step=0.1, count=15, mad=True)
    groups = _search(block, 16, plain, Steps(limit=3, first=-0.9, step=0.05, count=36))
    if block.importance is not None:
        d, ls = positive_scale_search(p, groups.scales, groups.totals, 15)
        dmin, lm = positive_scale_search(p, groups.minima, groups.totals, 15)
        pairs = [(low | (high << 4)) & 0xFF for low, high in zip(ls, lm, strict=True)]
    else:
        found = []
        for values in (groups.scales, groups.minima):
            top = _top(p, values)
            inverse = p.f32(15.0) / top
            positive = top > 0.0
            found.append([p.select(positive, nearest(p, inverse * values[j]), 0) for j in range(16)])
        d = p.select(_top(p, groups.scales) > 0.0, _top(p, groups.scales) / 15.0, 0.0)
        dmin = p.select(_top(p, groups.minima) > 0.0, _top(p, groups.minima) / 15.0, 0.0)
        pairs = [(low | (high << 4)) & 0xFF for low, high in zip(*found, strict=True)]
    d_half, dmin_half = to_half(p, d), to_half(p, dmin)
    rounded, lows = p.array(16), p.array(16)
    for j, pair in enumerate(pairs):
        block.put(j, pair)
        rounded[j] = half_to_float(p, d_half) * p.to_float(pair & 0xF)
        lows[j] = half_to_float(p, dmin_half) * p.to_float(pair >> 4)
    levels = p.array(_QK, BYTE)
    with p.loop(16) as group:
        _requantise(block, groups, group, rounded[group], lows[group], levels, 3)
    _pack_pairs(block, levels, 16)
    block.put_half(80, d_half)
    block.put_half(82, dmin_half)


@frozen
class Signed:
    """What a search for symmetric scales found for every group of 16."""

    scales: Array
    inverses: Array
    zeros: Array
    magnitudes: Array

    @classmethod
    def of(cls, p: Program) -> Signed:
        """Return room for 16 groups."""
        return cls(p.array(16), p.array(16), p.array(16, INT), p.array(16))

    def keep(self, group: Value, found: Scale, p: Program) -> None:
        """Note what was found for a group."""
        self.scales[group], self.inverses[group] = found.scale, found.inverse
        self.zeros[group], self.magnitudes[group] = p.widen(found.zero), found.magnitude

    def found(self, group: Value, limit: int) -> Scale:
        """Return what was found for a group."""
        return Scale(
            scale=self.scales[group],
            inverse=self.inverses[group],
            zero=self.zeros[group] != 0,
            magnitude=self.magnitudes[group],
            limit=limit,
        )


def _first_largest(p: Program, scales: Vectors) -> tuple[Value, Value]:
    top, magnitude = p.f32(0.0), p.f32(0.0)
    for index in range(len(scales)):
        size = p.absolute(scales[index])
        larger = size > magnitude
        top, magnitude = p.select(larger, scales[index], top), p.select(larger, size, magnitude)
    return top, magnitude


def _signed_levels(block: Block, groups: Signed, group: Value, d: Value, levels: Array, limit: int) -> None:
    """Write the levels of a group, counted from 0, for its rounded scale; the search's where the scale became zero."""
    p = block.p
    x, out = block.x.part(group * 16, 16), levels.part(group * 16, 16)
    gone = d == 0.0
    block.require_range(groups.magnitudes[group] / p.absolute(d), ~gone)
    for index in range(16):
        out[index] = p.to_byte(p.to_int(level(p, x[index] / d, -limit, limit - 1)) + limit)
    with p.if_any(gone):
        found = groups.found(group, limit)
        for index in range(16):
            kept = p.to_byte(p.to_int(found.levels(p, x[index])))
            out[index] = p.select(gone, kept, out[index])


def write_q6_k(block: Block) -> None:
    """Append the work of Q6_K."""
    p = block.p
    groups = Signed.of(p)
    with p.loop(16) as group:
        x = block.x.part(group * 16, 16)
        w: Array | Part
        if block.importance is not None:
            w = block.importance.part(group * 16, 16)
        else:
            w = p.array(16)
            for index in range(16):
                w[index] = x[index] * x[index]
        groups.keep(group, scale_search(p, x, w, 32), p)
    top, magnitude = _first_largest(p, groups.scales)
    empty = magnitude < eps(p)
    inverse = p.f32(-128.0) / top
    d_half = p.select(empty, 0, to_half(p, p.f32(1.0) / inverse))
    rounded = p.array(16)
    for j in range(16):
        scale = p.select(empty, 0, p.minimum(nearest(p, inverse * groups.scales[j]), 127))
        block.put(192 + j, scale)
        # Stored in 8 bits: -128 to 127 are what it can be.
        rounded[j] = half_to_float(p, d_half) * p.to_float(scale)
    block.put_half(208, d_half)
    levels = p.array(_QK, BYTE)
    with p.loop(16) as group:
        _signed_levels(block, groups, group, rounded[group], levels, 32)
    with p.if_any(empty):
        nothing = p.splat(0, BYTE)
        with p.loop(_QK) as index:
            levels[index] = p.select(empty, nothing, levels[index])
    with p.loop(2) as half:
        for index in range(32):
            q = [levels[half * 128 + (index + 32 * j)] for j in range(4)]
            block.put(half * 64 + index, (q[0] & 0xF) | (q[2] << 4))
            block.put(half * 64 + (index + 32), (q[1] & 0xF) | (q[3] << 4))
            high = (q[0] >> 4) | ((q[1] >> 4) << 2) | ((q[2] >> 4) << 4) | ((q[3] >> 4) << 6)
            block.put(half * 32 + (128 + index), high)


def _q3_search(block: Block, x: Part, groups: Signed, group: Value, kept: Array) -> None:
    """make_q3_quants with do_rmse: levels improved one by one, in order; `kept` receives them, counted from 0."""
    p = block.p
    top, magnitude = _first_largest(p, x)
    zero = magnitude < eps(p)
    inverse = p.f32(-4.0) / top
    levels = p.array(16)
    lx, l2 = p.f32(0.0), p.f32(0.0)
    for index in range(16):
        found = level(p, inverse * x[index], -4, 3)
        levels[index] = found
        w = x[index] * x[index]
        lx = lx + w * x[index] * found
        l2 = l2 + w * found * found
    sum_lx, sum_l2 = p.variable(lx), p.variable(l2)
    with improving(p, ~zero) as changed:
        for index in range(16):
            w, old = x[index] * x[index], levels[index]
            wx = w * x[index]
            lx, l2 = sum_lx.get() - wx * old, sum_l2.get() - w * old * old
            integer = p.maximum(p.minimum(nearest(p, x[index] * l2 / lx), 3), -4)
            new = p.to_float(integer)
            new_lx, new_l2 = lx + wx * new, l2 + w * new * new
            better = (lx > 0.0) & (new != old) & (new_l2 > 0.0)
            better = better & (new_lx * new_lx * sum_l2.get() > sum_lx.get() * sum_lx.get() * new_l2)
            levels[index] = p.select(better, new, old)
            sum_lx.set_where(better, new_lx)
            sum_l2.set_where(better, new_l2)
            changed.set(changed.get() | p.widen(better))
    scale = p.select(sum_l2.get() > 0.0, sum_lx.get() / sum_l2.get(), 0.0)
    groups.keep(group, Scale(scale=p.select(zero, 0.0, scale), inverse=inverse, zero=zero, magnitude=magnitude, limit=4), p)
    out = kept.part(group * 16, 16)
    for index in range(16):
        out[index] = p.to_byte(p.select(zero, 0, p.to_int(levels[index]) + 4))


def write_q3_k(block: Block) -> None:
    """Append the work of Q3_K."""
    p = block.p
    groups = Signed.of(p)
    levels, totals = p.array(_QK, BYTE), p.array(16)
    sigma = block_squares(block) * 2.0 / float(_QK) if block.importance is not None else None
    with p.loop(16) as group:
        x = block.x.part(group * 16, 16)
        if block.importance is not None and sigma is not None:
            w = important_weights(block, x, block.importance.part(group * 16, 16), sigma)
            totals[group] = total_weight(p, w, 16)
            found = scale_search(p, x, w, 4)
            groups.keep(group, found, p)
            out = levels.part(group * 16, 16)
            for index in range(16):
                out[index] = p.to_byte(p.to_int(found.levels(p, x[index])))
        else:
            _q3_search(block, x, groups, group, levels)
    if block.importance is not None:
        found = scale_search(p, groups.scales, totals, 32)
        six = [p.to_int(found.levels(p, groups.scales[j])) for j in range(16)]
        d = found.scale
    else:
        top, _ = _first_largest(p, groups.scales)
        some = top != 0.0
        inverse = p.f32(-32.0) / top
        # Stored in 8 bits before it is limited.
        wrapped = [(nearest(p, inverse * groups.scales[j]) << 24) for j in range(16)]
        signed = [_arithmetic_shift(p, one) for one in wrapped]
        six = [p.select(some, p.maximum(p.minimum(one, 31), -32) + 32, 0) for one in signed]
        d = p.select(some, p.f32(1.0) / inverse, 0.0)
    d_half = to_half(p, d)
    for j in range(8):
        block.put(96 + j, (six[j] & 0xF) | ((six[j + 8] & 0xF) << 4))
    for j in range(4):
        parts = [(six[j + 4 * part] >> 4) << (2 * part) for part in range(4)]
        block.put(104 + j, parts[0] | parts[1] | parts[2] | parts[3])
    block.put_half(108, d_half)
    rounded = p.array(16)
    for j in range(16):
        rounded[j] = half_to_float(p, d_half) * p.to_float(six[j] - 32)
    with p.loop(16) as group:
        x, out, d = block.x.part(group * 16, 16), levels.part(group * 16, 16), rounded[group]
        gone = d == 0.0
        block.require_range(groups.magnitudes[group] / p.absolute(d), ~gone)
        for index in range(16):
            fresh = p.to_byte(p.to_int(level(p, x[index] / d, -4, 3)) + 4)
            out[index] = p.select(gone, out[index], fresh)
    with p.loop(32) as index:
        high = [((levels[index + 32 * j] >> 2) & 1) << j for j in range(8)]
        byte = high[0]
        for one in high[1:]:
            byte = byte | one
        block.put(index, byte)
    with p.loop(_QK) as index:
        levels[index] = levels[index] & 3
    _pack_pairs(block, levels, 32)


def _arithmetic_shift(p: Program, value: Value) -> Value:
    """Return `value >> 24` with the sign kept."""
    logical = value >> 24
    return p.select(logical > 127, logical - 256, logical)  # noqa: PLR2004 - the largest of 8 bits


K_KERNELS = {
    "Q2_K": Kernel(elements=_QK, size=84, write=write_q2_k),
    "Q3_K": Kernel(elements=_QK, size=110, write=write_q3_k),
    "Q4_K": Kernel(elements=_QK, size=144, write=write_q4_k),
    "Q5_K": Kernel(elements=_QK, size=176, write=write_q5_k),
    "Q6_K": Kernel(elements=_QK, size=210, write=write_q6_k),
}
