"""Super-blocks of signed scales: Q3_K, Q6_K, as quantize_row_q*_K_ref and _impl of ggml-quants.c make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from lftool_strict.kernels.block import Kernel
from lftool_strict.kernels.packing import pack_pairs
from lftool_strict.kernels.rounding import half_to_float, level, level_of, nearest, nearest_of, to_half
from lftool_strict.kernels.search import Scale, eps, improving, largest, scale_search
from lftool_strict.kernels.weights import block_squares, important_weights, total_weight
from lftool_strict.lanes.program import Array
from lftool_strict.lanes.values import BYTE, INT

if TYPE_CHECKING:
    from lftool_strict.kernels.block import Block
    from lftool_strict.lanes.program import Part, Program
    from lftool_strict.lanes.values import Value

_QK = 256


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


def _signed_levels(block: Block, groups: Signed, group: Value, d: Value, levels: Array, limit: int) -> None:
    """Write the levels of a group, counted from 0, for its rounded scale; the search's where the scale became zero."""
    p = block.p
    x, out = block.x.part(group * 16, 16), levels.part(group * 16, 16)
    gone = d == 0.0
    block.require_range(groups.magnitudes[group] / p.absolute(d), ~gone)

    def quantise(index: Value | int) -> None:
        out[index] = p.to_byte(p.to_int(level(p, x[index] / d, -limit, limit - 1)) + limit)

    p.each(16, quantise)
    with p.if_any(gone):
        found = groups.found(group, limit)

        def keep(index: Value | int) -> None:
            kept = p.to_byte(p.to_int(found.levels(p, x[index])))
            out[index] = p.select(gone, kept, out[index])

        p.each(16, keep)


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
    top, magnitude = largest(p, groups.scales)
    empty = magnitude < eps(p)
    inverse = p.f32(-128.0) / top
    d_half = p.select(empty, 0, to_half(p, p.f32(1.0) / inverse))
    rounded = p.array(16)
    d = half_to_float(p, d_half)

    def round_scale(j: Value | int) -> None:
        scale = p.select(empty, 0, p.minimum(nearest_of(p, "block.scale", inverse, groups.scales[j]), 127))
        block.put(192 + p.index(j), scale)
        # Stored in 8 bits: -128 to 127 are what it can be.
        rounded[j] = d * p.to_float(scale)

    p.each(16, round_scale)
    block.put_half(208, d_half)
    levels = p.array(_QK, BYTE)
    with p.loop(16) as group:
        _signed_levels(block, groups, group, rounded[group], levels, 32)
    with p.if_any(empty):
        nothing = p.splat(0, BYTE)
        with p.loop(_QK) as at:
            levels[at] = p.select(empty, nothing, levels[at])
    with p.loop(2) as half:

        def pack(index: Value | int) -> None:
            q = [levels[half * 128 + 32 * j + index] for j in range(4)]
            block.put(half * 64 + index, (q[0] & 0xF) | (q[2] << 4))
            block.put(half * 64 + 32 + index, (q[1] & 0xF) | (q[3] << 4))
            high = (q[0] >> 4) | ((q[1] >> 4) << 2) | ((q[2] >> 4) << 4) | ((q[3] >> 4) << 6)
            block.put(half * 32 + 128 + index, high)

        p.each(32, pack)


def _q3_search(block: Block, x: Part, groups: Signed, group: Value, kept: Array) -> None:
    """make_q3_quants with do_rmse: levels improved one by one, in order; `kept` receives them, counted from 0."""
    p = block.p
    top, magnitude = largest(p, x)
    zero = magnitude < eps(p)
    inverse = p.f32(-4.0) / top
    levels = p.array(16)
    lx, l2 = p.f32(0.0), p.f32(0.0)
    for index in range(16):
        found = level_of(p, "q3.first.round", inverse, x[index], -4, 3)
        levels[index] = found
        w = x[index] * x[index]
        lx = p.multiply_add("q3.first.lx", w * x[index], found, lx)
        l2 = p.multiply_add("q3.first.l2", w * found, found, l2)
    sum_lx, sum_l2 = p.variable(lx), p.variable(l2)
    with improving(p, ~zero) as changed:
        for index in range(16):
            w, old = x[index] * x[index], levels[index]
            wx = w * x[index]
            lx = p.subtract_product("q3.better.lx", sum_lx.get(), wx, old)
            l2 = p.subtract_product("q3.better.l2", sum_l2.get(), w * old, old)
            integer = p.maximum(p.minimum(nearest(p, x[index] * l2 / lx), 3), -4)
            new = p.to_float(integer)
            new_lx = p.multiply_add("q3.better.new_lx", wx, new, lx)
            new_l2 = p.multiply_add("q3.better.new_l2", w * new, new, l2)
            better = (lx > 0.0) & (new != old) & (new_l2 > 0.0)
            better = better & (new_lx * new_lx * sum_l2.get() > sum_lx.get() * sum_lx.get() * new_l2)
            levels[index] = p.select(better, new, old)
            sum_lx.set_where(better, new_lx)
            sum_l2.set_where(better, new_l2)
            changed.set(changed.get() | p.widen(better))
    scale = p.select(sum_l2.get() > 0.0, sum_lx.get() / sum_l2.get(), 0.0)
    groups.keep(
        group, Scale(scale=p.select(zero, 0.0, scale), inverse=inverse, zero=zero, magnitude=magnitude, limit=4), p
    )
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
        top, _ = largest(p, groups.scales)
        some = top != 0.0
        inverse = p.f32(-32.0) / top
        # Stored in 8 bits before it is limited.
        wrapped = [(nearest_of(p, "block.scale", inverse, groups.scales[j]) << 24) for j in range(16)]
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
    with p.loop(32) as at:
        high = [((levels[at + 32 * j] >> 2) & 1) << j for j in range(8)]
        byte = high[0]
        for one in high[1:]:
            byte = byte | one
        block.put(at, byte)
    with p.loop(_QK) as at:
        levels[at] = levels[at] & 3
    pack_pairs(block, levels, 32)


def _arithmetic_shift(p: Program, value: Value) -> Value:
    """Return `value >> 24` with the sign kept."""
    logical = value >> 24
    return p.select(logical > 127, logical - 256, logical)


SIGNED_KERNELS = {
    "Q3_K": Kernel(elements=_QK, size=110, write=write_q3_k),
    "Q6_K": Kernel(elements=_QK, size=210, write=write_q6_k),
}
