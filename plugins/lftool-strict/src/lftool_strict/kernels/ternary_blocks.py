"""Super-blocks of ternary grid points: IQ1_S and IQ1_M, as quantize_row_iq1_*_impl of ggml-quants.c make them.

A weight is -1, 0 or 1, all of a group moved a little to one side. Groups are sorted, and every pair of borders between the
three levels is tried, for both sides. Equal weights are sorted by their number: `qsort` leaves their order to the C
library, and glibc's keeps it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import frozen

from lftool_strict.kernels.block import OVERFLOW, Kernel
from lftool_strict.kernels.neighbours import GRIDS, ON_GRID
from lftool_strict.kernels.rounding import nearest, to_half
from lftool_strict.kernels.search import binary32
from lftool_strict.kernels.weights import block_squares, important_weights
from lftool_strict.lanes.nearest import NOT_FOUND, Finder
from lftool_strict.lanes.program import Array, Variable
from lftool_strict.lanes.values import INT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool_strict.kernels.block import Block
    from lftool_strict.kernels.search import Vectors
    from lftool_strict.lanes.program import Part, Program
    from lftool_strict.lanes.values import Value

_QK = 256
_GRID = GRIDS["IQ1"]
_SIDE = 0.125  # IQ1S_DELTA and IQ1M_DELTA
_FLOAT_MAX = 3.4028234663852886e38
_INFINITY = float("inf")


def _comparators(count: int) -> Iterator[tuple[int, int]]:
    """Yield the comparators of Batcher's odd-even merge sort."""
    merged = 1
    while merged < count:
        gap = merged
        while gap:
            for first in range(gap % merged, count - gap, 2 * gap):
                for at in range(first, min(first + gap, count - gap)):
                    if at // (2 * merged) == (at + gap) // (2 * merged):
                        yield at, at + gap
            gap //= 2
        merged *= 2


@frozen
class Sorted:
    """The weights of a group in ascending order: what they are, how much they count, and their numbers."""

    x: Array
    w: Array
    number: Array

    @classmethod
    def of(cls, p: Program, x: Vectors, w: Vectors) -> Sorted:
        """Sort a group."""
        count = len(x)
        made = cls(p.array(count), p.array(count), p.array(count, INT))

        def take(index: Value | int) -> None:
            made.x[index], made.w[index], made.number[index] = x[index], w[index], p.number(index)

        p.each(count, take)
        pairs = list(_comparators(count))
        table = p.places([place for pair in pairs for place in pair])

        def compare(index: Value | int) -> None:
            low, high = (p.place(table, index * 2 + which) for which in range(2))
            one, other = made.x[low], made.x[high]
            first, second = made.number[low], made.number[high]
            swap = (other < one) | ((other == one) & (second < first))
            for values in (made.x, made.w, made.number):
                a, b = values[low], values[high]
                values[low], values[high] = p.select(swap, b, a), p.select(swap, a, b)

        p.each(len(pairs), compare, 2)
        return made

    def border(self, p: Program, place: Value) -> tuple[Value, Value]:
        """Return the weight at a place and its number; infinity behind the last."""

        def step(index: Value | int, x: Value, number: Value) -> tuple[Value, Value]:
            here = place == p.number(index)
            return p.select(here, self.x[index], x), p.select(here, self.number[index], number)

        x, number = p.fold(len(self.x), (p.f32(_INFINITY), p.i32(0)), step)
        return x, number


@frozen(kw_only=True)
class Best:
    """The best split so far: its score, its scale, its two borders, and on which side the levels are."""

    score: Variable
    scale: Variable
    first: Variable
    second: Variable
    side: Variable

    @classmethod
    def of(cls, p: Program, scale: Value) -> Best:
        """Begin without any."""
        none = p.i32(-1)
        return cls(
            score=p.variable(-_FLOAT_MAX),
            scale=p.variable(scale),
            first=p.variable(none),
            second=p.variable(none),
            side=p.variable(none),
        )

    def offer(self, p: Program, qx: Value, q2: Value, first: Value, second: Value, side: int) -> None:
        """Take a split where it is better."""
        better = (q2 > 0.0) & (qx * qx > self.score.get() * q2)
        with p.if_any(better):
            scale = qx / q2
            self.scale.set_where(better, scale)
            self.score.set_where(better, scale * qx)
            self.first.set_where(better, first)
            self.second.set_where(better, second)
            self.side.set_where(better, p.i32(side))


def _pairs(p: Program, count: int) -> Iterator[tuple[Value, Value, Value, Value]]:
    """Write a loop over all pairs of borders; yields once: both as scalars, and in all lanes."""
    with p.loop(count + 1) as first, p.loop(p.index(count + 1) - first) as more:
        second = first + more
        yield first, second, p.spread(p.short(first)), p.spread(p.short(second))


def _split_s(p: Program, found: Sorted, best: Best) -> None:
    """Try all splits for one side or the other: sides 0 and 1."""
    count = len(found.x)
    sum_x, sum_w = p.array(count + 1), p.array(count + 1)
    sum_x[0], sum_w[0] = p.f32(0.0), p.f32(0.0)
    for index in range(count):
        sum_x[index + 1] = p.multiply_add("split.sum", found.w[index], found.x[index], sum_x[index])
        sum_w[index + 1] = sum_w[index] + found.w[index]
    all_x, all_w = sum_x[count], sum_w[count]
    sides = [[-1 + side, side, 1 + side] for side in (_SIDE, -_SIDE)]
    for first, second, one, other in _pairs(p, count):
        x1, x2, w1, w2 = sum_x[first], sum_x[second], sum_w[first], sum_w[second]
        for side, levels in enumerate(sides):
            low, middle, high = (p.f32(one) for one in levels)
            qx = p.three(f"split.{side}.qx", (x1, low), (x2 - x1, middle), (all_x - x2, high))
            squares = [(w1 * low, low), ((w2 - w1) * middle, middle), ((all_w - w2) * high, high)]
            q2 = p.three(f"split.{side}.q2", *squares)
            best.offer(p, qx, q2, one, other, side)


def _split_m(p: Program, found: Sorted, best: Best) -> None:
    """Try all splits with a side for each half of the group: 0 to 3, the second half's in the lowest bit."""
    count = len(found.x)
    sums_x = [p.array(count + 1), p.array(count + 1)]
    sums_w = [p.array(count + 1), p.array(count + 1)]
    for half in range(2):
        sums_x[half][0], sums_w[half][0] = p.f32(0.0), p.f32(0.0)
    for index in range(count):
        late = found.number[index] >= count // 2
        for half in range(2):
            mine = late if half else ~late
            so_far, weight = sums_x[half][index], sums_w[half][index]
            more = p.multiply_add("halves.sum", found.w[index], found.x[index], so_far)
            sums_x[half][index + 1] = p.select(mine, more, so_far)
            sums_w[half][index + 1] = p.select(mine, weight + found.w[index], weight)
    sides = [[-1 + side, side, 1 + side] for side in (_SIDE, -_SIDE)]
    steps = [[a * a - b * b for a, b in pairwise(levels)] for levels in sides]
    all_x, all_w = [values[count] for values in sums_x], [values[count] for values in sums_w]
    for first, second, one, other in _pairs(p, count):
        qx: list[list[Value]] = []
        q2: list[list[Value]] = []
        for half in range(2):
            both = sums_x[half][first] + sums_x[half][second]
            w1, w2 = sums_w[half][first], sums_w[half][second]
            qx.append([p.multiply_subtract("halves.qx", all_x[half], p.f32(levels[2]), both) for levels in sides])
            q2.append(
                [
                    p.three(
                        "halves.q2",
                        (all_w[half] * levels[2], p.f32(levels[2])),
                        (w1, p.f32(step[0])),
                        (w2, p.f32(step[1])),
                    )
                    for levels, step in zip(sides, steps, strict=True)
                ]
            )
        for pair in range(4):
            begins, ends = pair >> 1, pair & 1
            best.offer(p, qx[0][begins] + qx[1][ends], q2[0][begins] + q2[1][ends], one, other, pair)


def _split_m_old(p: Program, found: Sorted, best: Best) -> None:
    """Try all splits as `_split_m` does, every sum from the first weight to the last."""
    count = len(found.x)
    sides = [[-1 + side, side, 1 + side] for side in (_SIDE, -_SIDE)]
    for _, _, one, other in _pairs(p, count):

        def level(index: Value | int, side: int, one: Value = one, other: Value = other) -> Value:
            low, middle, high = (p.f32(value) for value in sides[side])
            at = p.number(index)
            return p.select(at < one, low, p.select(at < other, middle, high))

        def step(index: Value | int, *sums: Value) -> list[Value]:
            late = found.number[index] >= count // 2
            weight, x = found.w[index], found.x[index]
            levels = [level(index, 0), level(index, 1)]
            made = []
            for pair in range(4):
                q = p.select(late, levels[pair & 1], levels[pair >> 1])
                weighted = weight * q
                made.append(p.multiply_add("halves.old", weighted, x, sums[2 * pair]))
                made.append(p.multiply_add("halves.old", weighted, q, sums[2 * pair + 1]))
            return made

        sums = p.fold(count, [p.f32(0.0)] * 8, step, 2)
        for pair in range(4):
            best.offer(p, sums[2 * pair], sums[2 * pair + 1], one, other, pair)


@frozen(kw_only=True)
class Form:
    """One of the two types.

    Attributes:
        group: Weights with a scale of their own.
        least: Magnitude below which a group counts as zero.
        halves: Whether each half of a group has a side of its own; else a group has one.
    """

    group: int
    least: float
    halves: bool

    @property
    def points(self) -> int:
        """Points of a group."""
        return self.group // _GRID.dimensions

    def shift(self, p: Program, side: Value, point: int) -> Value:
        """Return how far the levels of a point are moved."""
        bit = (side >> 1 if point == 0 else side) & 1 if self.halves else side
        return p.select(bit == 0, p.f32(_SIDE), p.f32(-_SIDE))


@frozen(kw_only=True)
class Found:
    """What the groups of a block came to."""

    scales: Array
    sides: Array
    indices: Array
    points: Array


def _weights(block: Block, x: Vectors, importance: Vectors | None, sigma: Value) -> Array:
    p = block.p
    if importance is not None:
        return important_weights(block, x, importance, sigma)
    w = p.array(len(x))
    for index in range(len(x)):
        w[index] = x[index] * x[index]
    return w


def _fit_group(
    block: Block, form: Form, finder: Finder, x: Vectors, w: Array
) -> tuple[Value, Value, list[Value], Value]:
    """Return scale and side of a group, the entries of its points, and the lanes that count."""
    p, count = block.p, form.group

    def larger(index: Value | int, top: Value) -> tuple[Value]:
        size = p.absolute(x[index])
        return (p.select(top > size, top, size),)

    (top,) = p.fold(count, (p.absolute(x[0]),), larger)
    live = ~(top < binary32(form.least))
    found = Sorted.of(p, x, w)
    best = Best.of(p, top)
    if not form.halves:
        _split_s(p, found, best)
    else:
        (_split_m_old if p.does("old.split") else _split_m)(p, found, best)
    live = live & (best.side.get() >= 0)
    scale, side = best.scale.get(), best.side.get()
    first, second = found.border(p, best.first.get()), found.border(p, best.second.get())
    negative = scale < 0.0
    points, scales, shifts = p.array(form.points, INT), p.array(1), p.array(form.points)
    given = p.array(count)
    with p.loop(form.points) as number:
        point, start = p.i32(0), p.number(number * _GRID.dimensions)
        for axis in range(_GRID.dimensions):
            index = number * _GRID.dimensions + axis
            value = given[index] = x[index]
            below = [(value < at) | ((value == at) & (start + axis < other)) for at, other in (first, second)]
            level = p.select(below[0], p.i32(0), p.select(below[1], p.i32(1), p.i32(2)))
            point = point | (p.select(negative, p.i32(2) - level, level) << (_GRID.bits * axis))
        points[number] = point
    scale = p.select(negative, -scale, scale)
    side = p.select(negative, p.i32(3 if form.halves else 1) - side, side)
    scales[0] = scale
    for each in range(form.points):
        shifts[each] = form.shift(p, side, each)
    entries = p.array(form.points, INT)
    finder.find(points, scales, shifts, given, w, entries)
    qx, q2, beside = p.f32(0.0), p.f32(0.0), p.i32(0)
    for each in range(form.points):
        entry = entries[each]
        block.report((entry == NOT_FOUND) & live, OVERFLOW)
        beside = beside | (~entry & ON_GRID)
        for axis in range(_GRID.dimensions):
            place = each * _GRID.dimensions + axis
            q = _value(p, finder, entry, axis, shifts[each])
            qx = p.multiply_add("iq.again.qx", w[place] * q, x[place], qx)
            q2 = p.multiply_add("iq.again.q2", w[place] * q, q, q2)
    fits = (beside != 0) & (qx > 0.0) & (q2 > 0.0)
    scale = p.select(live, p.select(fits, qx / q2, scale), 0.0)
    kept = [p.select(live, entries[number], 0) for number in range(form.points)]
    return scale, p.select(live, side, 0), kept, live


def _finder(p: Program, form: Form) -> Finder:
    return Finder(
        p,
        dimensions=_GRID.dimensions,
        bits=_GRID.bits,
        values=(-1.0, 0.0, 1.0),
        count=form.points,
        least=_GRID.least,
        shifted=True,
    )


def _value(p: Program, finder: Finder, entry: Value, axis: int, shift: Value) -> Value:
    return (p.to_float(finder.level(entry, axis)) - 1.0) + shift


def _groups(block: Block, form: Form, finder: Finder, sigma: Value) -> tuple[Found, Value]:
    """Fit all groups; return what was found and the largest scale."""
    p, count = block.p, _QK // form.group
    found = Found(
        scales=p.array(count),
        sides=p.array(count, INT),
        indices=p.array(_QK // _GRID.dimensions, INT),
        points=p.array(_QK // _GRID.dimensions, INT),
    )
    largest = p.variable(0.0)
    with p.loop(count) as number:
        x = block.x.part(number * form.group, form.group)
        importance = None if block.importance is None else block.importance.part(number * form.group, form.group)
        scale, side, entries, _ = _fit_group(block, form, finder, x, _weights(block, x, importance, sigma))
        found.scales[number], found.sides[number] = scale, side
        for at, entry in enumerate(entries):
            found.indices[number * form.points + at] = (entry >> 16) & 0x3FFF
            found.points[number * form.points + at] = entry & 0xFFFF
        largest.set(p.select(largest.get() > scale, largest.get(), scale))
    return found, largest.get()


def _levels(block: Block, found: Found, d: Value, nothing: Value) -> list[Value]:
    """Return the levels of the scales, 0 to 7."""
    p = block.p
    inverse = p.f32(1.0) / d
    levels = []
    for number in range(len(found.scales)):
        scaled = p.multiply_subtract("iq.block.round", inverse, found.scales[number], p.f32(1.0)) * 0.5
        levels.append(p.select(nothing, 0, p.maximum(p.minimum(nearest(p, scaled), 7), 0)))
    return levels


_S = Form(group=32, least=1e-12, halves=False)
_M = Form(group=16, least=1e-7, halves=True)


def write_iq1_s(block: Block) -> None:
    """Append the work of IQ1_S."""
    p = block.p
    if block.importance is None:
        raise ValueError("an importance matrix is needed")
    finder = _finder(p, _S)
    found, largest = _groups(block, _S, finder, block_squares(block) * 2.0 / float(_QK))
    nothing = largest == 0.0
    d = largest / 15.0
    block.put_half(0, p.select(nothing, 0, to_half(p, d * 1.125)))
    with p.loop(32) as at:
        block.put(at + 2, found.indices[at])
    for number, level in enumerate(_levels(block, found, d, nothing)):
        word = (level | p.select(nothing, 0, found.sides[number] << 3)) << 12
        for point in range(4):
            word = word | ((found.indices[number * 4 + point] >> 8) << (3 * point))
        block.put(34 + 2 * number, word)
        block.put(35 + 2 * number, word >> 8)


def write_iq1_m(block: Block) -> None:
    """Append the work of IQ1_M."""
    p = block.p
    finder = _finder(p, _M)
    sigma = block_squares(block) * 2.0 / float(_QK)
    found, largest = _groups(block, _M, finder, sigma)
    nothing = largest == 0.0
    d = largest / 15.0
    levels = p.array(16, INT)
    for place, level in enumerate(_levels(block, found, d, nothing)):
        levels[place] = level
    qx, q2 = p.variable(0.0), p.variable(0.0)
    with p.loop(16) as number:
        x: Part = block.x.part(number * 16, 16)
        importance = None if block.importance is None else block.importance.part(number * 16, 16)
        w = _weights(block, x, importance, sigma)
        times = p.to_float((levels[number] << 1) + 1)
        sum_qx, sum_q2 = qx.get(), q2.get()
        for half in range(2):
            shift = _M.shift(p, found.sides[number], half)
            point = found.points[number * 2 + half]
            for axis in range(_GRID.dimensions):
                index = half * _GRID.dimensions + axis
                q = _value(p, finder, point, axis, shift) * times
                sum_qx = p.multiply_add("block.qx", w[index] * q, x[index], sum_qx)
                sum_q2 = p.multiply_add("block.q2", w[index] * q, q, sum_q2)
        qx.set(sum_qx)
        q2.set(sum_q2)
    fitted = p.select(q2.get() > 0.0, qx.get() / q2.get(), d)
    half_scale = p.select(nothing, 0, to_half(p, fitted * binary32(1.1125)))
    block.require_finite(half_scale)
    with p.loop(32) as at:
        block.put(at, found.indices[at])
    with p.loop(16) as at:
        side = p.select(nothing, 0, found.sides[at])
        high = (found.indices[at * 2] >> 8) | ((found.indices[at * 2 + 1] >> 8) << 4)
        block.put(at + 32, high | ((side & 1) << 7) | ((side >> 1) << 3))
    for quarter in range(4):
        word = ((half_scale >> (4 * quarter)) & 15) << 12
        for place in range(4):
            word = word | (levels[quarter * 4 + place] << (3 * place))
        block.put(48 + 2 * quarter, word)
        block.put(49 + 2 * quarter, word >> 8)


TERNARY_KERNELS = {
    "IQ1_S": Kernel(elements=_QK, size=50, write=write_iq1_s, plain=False, grid=_GRID.name),
    "IQ1_M": Kernel(elements=_QK, size=56, write=write_iq1_m, grid=_GRID.name),
}
