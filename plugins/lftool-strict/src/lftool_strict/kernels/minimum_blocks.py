"""Super-blocks of scales and minima: Q2_K, Q4_K, Q5_K, as quantize_row_q*_K_ref and _impl of ggml-quants.c make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from lftool_strict.kernels.block import Kernel
from lftool_strict.kernels.packing import pack_nibbles, pack_pairs, packed_scales, unpacked_scales
from lftool_strict.kernels.rounding import half_to_float, level, nearest_of, to_half
from lftool_strict.kernels.search import (
    ScaleMin,
    Steps,
    positive_scale_search,
    scale_min_search,
)
from lftool_strict.kernels.weights import block_squares, important_weights, sum_of_squares, total_weight
from lftool_strict.lanes.program import Array
from lftool_strict.lanes.values import BYTE, INT

if TYPE_CHECKING:
    from lftool_strict.kernels.block import Block
    from lftool_strict.kernels.search import Vectors
    from lftool_strict.lanes.program import Program
    from lftool_strict.lanes.values import Value

_QK = 256


@frozen(kw_only=True)
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
        return cls(
            scales=p.array(count),
            minima=p.array(count),
            inverses=p.array(count),
            origins=p.array(count),
            flats=p.array(count, INT),
            totals=p.array(count),
            size=size,
        )

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
        sigma = squares / float(_QK) if size == 16 or p.does("old.qp") else squares * 2.0 / float(_QK)
    with p.loop(_QK // size) as group:
        x = block.x.part(group * size, size)
        if block.importance is not None and sigma is not None:
            w = important_weights(block, x, block.importance.part(group * size, size), sigma)
            groups.totals[group] = total_weight(p, w, size)
            found = scale_min_search(block, x, w, important)
        else:
            w = p.array(size)
            average = None if size == 16 else p.sqrt(sum_of_squares(p, x, "group.squares") / float(size))

            def weigh(index: Value | int, x: Vectors = x, w: Array = w, average: Value | None = average) -> None:
                magnitude = p.absolute(x[index])
                w[index] = magnitude if average is None else average + magnitude

            p.each(size, weigh)
            found = scale_min_search(block, x, w, plain)
        groups.keep(group, found, p)
    return groups


def _top(p: Program, values: Array) -> Value:
    top = p.f32(0.0)
    for index in range(len(values)):
        top = p.select(values[index] > top, values[index], top)
    return top


def _requantise(
    block: Block, groups: Groups, group: Value, d: Value, minimum: Value, levels: Array, limit: int
) -> None:
    """Write the levels of a group for its rounded scale and minimum; those of the search where the scale became zero."""
    p, size = block.p, groups.size
    x = block.x.part(group * size, size)
    out = levels.part(group * size, size)
    gone = d == 0.0
    (largest,) = p.fold(size, (p.f32(0.0),), lambda index, so_far: (p.maximum(so_far, p.absolute(x[index] + minimum)),))
    block.require_range(largest / p.absolute(d), ~gone)

    def quantise(index: Value | int) -> None:
        out[index] = p.to_byte(p.to_int(level(p, (x[index] + minimum) / d, 0, limit)))

    p.each(size, quantise)
    with p.if_any(gone):
        found = groups.found(group, limit)

        def keep(index: Value | int) -> None:
            kept = p.to_byte(p.to_int(found.levels(p, x[index])))
            out[index] = p.select(gone, kept, out[index])

        p.each(size, keep)


def _k45(block: Block, bits: int) -> None:
    p, limit = block.p, 2**bits - 1
    plain = (
        Steps(limit=limit, first=-1.0, step=0.1, count=20)
        if bits == 4
        else Steps(limit=limit, first=-0.5, step=0.1, count=15)
    )
    groups = _search(block, 32, plain, Steps(limit=limit, first=-0.9, step=0.05, count=36))
    if block.importance is not None and not p.does("old.qp"):
        d, ls = positive_scale_search(p, groups.scales, groups.totals, 63)
        dmin, lm = positive_scale_search(p, groups.minima, groups.totals, 63)
        if bits == 5:
            ls, lm = [p.minimum(one, 63) for one in ls], [p.minimum(one, 63) for one in lm]
    else:
        ls, lm = [], []
        halves = []
        for values, into in ((groups.scales, ls), (groups.minima, lm)):
            top = _top(p, values)
            inverse = p.select(top > 0.0, p.f32(63.0) / top, 0.0)
            into += [p.minimum(nearest_of(p, "block.scale", inverse, values[j]) & 0xFF, 63) for j in range(8)]
            halves.append(top / 63.0)
        d, dmin = halves
    packed = packed_scales(p, list(ls), list(lm))
    d_half, dmin_half = to_half(p, d), to_half(p, dmin)
    block.put_half(0, d_half)
    block.put_half(2, dmin_half)
    for place, byte in enumerate(packed):
        block.put(4 + place, byte)
    scales, minima = unpacked_scales(packed)
    rounded, lows = p.array(8), p.array(8)
    for j in range(8):
        rounded[j] = half_to_float(p, d_half) * p.to_float(scales[j])
        lows[j] = half_to_float(p, dmin_half) * p.to_float(minima[j])
    levels = p.array(_QK, BYTE)
    with p.loop(8) as group:
        _requantise(block, groups, group, rounded[group], lows[group], levels, limit)
    pack_nibbles(block, levels, 16 if bits == 4 else 48)
    if bits == 5:
        with p.loop(32) as at:
            high = [(levels[at + 32 * j] >> 4) << j for j in range(8)]
            byte = high[0]
            for one in high[1:]:
                byte = byte | one
            block.put(16 + at, byte)


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
            found.append([p.select(positive, nearest_of(p, "block.scale", inverse, values[j]), 0) for j in range(16)])
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
    pack_pairs(block, levels, 16)
    block.put_half(80, d_half)
    block.put_half(82, dmin_half)


MINIMUM_KERNELS = {
    "Q2_K": Kernel(elements=_QK, size=84, write=write_q2_k),
    "Q4_K": Kernel(elements=_QK, size=144, write=write_q4_k),
    "Q5_K": Kernel(elements=_QK, size=176, write=write_q5_k),
}
