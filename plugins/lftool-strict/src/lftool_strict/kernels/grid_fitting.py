"""Fit grid points and signs to the weights of a super-block, as quantize_row_iq*_impl do.

A group of weights has one scale. For each of some scales every weight is rounded to a level, every point of levels is
moved to the nearest point of the grid, and the scale that suits these best is computed; the best of all is kept, and its
points are found once more for the scale that came out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import frozen

from lftool_strict.kernels.block import OVERFLOW
from lftool_strict.kernels.neighbours import ON_GRID, Grid
from lftool_strict.kernels.rounding import level, nearest, to_half
from lftool_strict.kernels.search import binary32, positive_scale_search
from lftool_strict.kernels.weights import block_squares, important_weights
from lftool_strict.lanes.nearest import NOT_FOUND, Finder
from lftool_strict.lanes.program import Array, Program
from lftool_strict.lanes.values import INT, Value

if TYPE_CHECKING:
    from lftool_strict.kernels.block import Block
    from lftool_strict.kernels.search import Vectors

QK = 256


@frozen(kw_only=True)
class Form:
    """One type of blocks.

    Attributes:
        grid: Its grid.
        group: Weights with a scale of their own.
        even: Whether an even number of every eight signs is set, so that seven tell the eighth.
        least: Magnitude below which a group counts as zero; 0 for "is zero".
        sigma: Times the mean square of the block, in the weights of an importance matrix.
        plain: Makes the weights without one; None if it is needed.
        steps: Scales that are tried, from -steps to steps.
        width: Between them.
        searched: Whether the first scale is searched, instead of the largest magnitude at the highest level.
        all_again: Whether all points are found again in the end, not only those beside the grid.
        fudge: What the block's scale is multiplied with.
        keeps: Whether points and signs stay where all scales are zero.
    """

    grid: Grid
    group: int
    even: bool
    least: float
    sigma: float
    plain: Callable[[Program, Value, Value], Value] | None = None
    steps: int
    width: float
    searched: bool = False
    all_again: bool = False
    fudge: float = 1.0
    keeps: bool = False

    @property
    def top(self) -> int:
        """The highest level."""
        return self.grid.levels - 1

    @property
    def highest(self) -> float:
        """What a weight is at the highest level, for a scale of 1: levels are odd numbers."""
        return float(2 * self.top + 1)

    def numerators(self) -> list[float]:
        """Return what the inverse scales that are tried have above the line, rounded after every operation."""
        width = binary32(self.width)
        return [binary32(self.highest + binary32(step * width)) for step in range(-self.steps, self.steps + 1)]


@frozen
class Points:
    """The points of a group: what the finder reads and writes."""

    wanted: Array
    entries: Array
    scale: Array

    @classmethod
    def of(cls, p: Program, count: int) -> Points:
        """Return room for `count` points."""
        return cls(p.array(count, INT), p.array(count, INT), p.array(1))


@frozen
class Group:
    """One group: magnitudes, what they count, and the roots of that, by which neighbours are compared."""

    x: Array
    w: Array
    roots: Array
    reach: Value

    @classmethod
    def of(cls, block: Block, form: Form, x: Vectors, importance: Vectors | None, sigma: Value) -> Group:
        """Weigh a group; its magnitudes are still to be set."""
        p = block.p
        if importance is not None:
            w = important_weights(block, x, importance, sigma)
        else:
            if form.plain is None:
                raise ValueError("an importance matrix is needed")
            w, plain = p.array(len(x)), form.plain

            def weigh(index: Value | int) -> None:
                w[index] = plain(p, x[index], sigma)

            p.each(len(x), weigh)
        roots = p.array(len(x))

        def measure(index: Value | int, reach: Value) -> tuple[Value]:
            roots[index] = p.sqrt(w[index])
            return (p.maximum(p.absolute(x[index]), reach),)

        (reach,) = p.fold(len(x), (p.f32(0.0),), measure)
        return cls(p.array(len(x)), w, roots, reach)


@frozen(kw_only=True)
class Found:
    """What a block is made of: numbers of points, eight signs each, scales of groups, their levels, and which are not 0."""

    indices: Array
    signs: Array
    scales: Array
    levels: Array
    live: Array


def _magnitudes(p: Program, form: Form, x: Vectors, group: Group) -> Array:
    """Set the magnitudes of a group; return its signs, eight to an integer."""
    found = p.array(len(x) // 8, INT)
    with p.loop(len(found)) as eight:
        first = eight * 8
        bits, odd = p.i32(0), p.i32(0)
        for index in range(8):
            negative = ~(x[first + index] >= 0.0)
            group.x[first + index] = p.select(negative, -x[first + index], x[first + index])
            bits = bits | (p.widen(negative) << index)
            odd = odd + p.widen(negative)
        if form.even:
            # The weight whose sign costs least gets the wrong one where the number is odd.
            least = group.w[first] * x[first] * x[first]
            chosen = p.i32(0)
            for index in range(1, 8):
                cost = group.w[first + index] * x[first + index] * x[first + index]
                less = cost < least
                least, chosen = p.select(less, cost, least), p.select(less, p.i32(index), chosen)
            is_odd = (odd & 1) != 0
            for index in range(8):
                flips = is_odd & (chosen == index)
                value = group.x[first + index]
                group.x[first + index] = p.select(flips, -value, value)
                bits = bits ^ (p.widen(flips) << index)
            bits = bits & 127
        found[eight] = bits
    return found


def _twice(p: Program, place: str, inverse: Value, value: Value, number: Value) -> Value:
    """Return twice the level of a weight, not rounded; `place.late` fuses it from the second point of a group on."""
    found = p.multiply_subtract(place, inverse, value, p.f32(1.0))
    if f"{place}.late" not in p.fused:
        return found
    late = p.multiply_subtract(f"{place}.late", inverse, value, p.f32(1.0))
    return p.select(p.number(number) == 0, found, late)


def _levels_to_points(block: Block, form: Form, group: Group, inverse: Value, points: Points, turn: str) -> None:
    """Round every magnitude to a level, and set the points that the levels make."""
    p, grid = block.p, form.grid
    with p.loop(form.group // grid.dimensions) as number:
        point = p.i32(0)
        for axis in range(grid.dimensions):
            value = group.x[number * grid.dimensions + axis]
            twice = _twice(p, f"iq.{turn}.round", inverse, value, number)
            found = p.to_int(level(p, twice * 0.5, 0, form.top))
            point = point | (found << (grid.bits * axis))
        points.wanted[number] = point


def _sums(block: Block, form: Form, group: Group, entries: Array, finder: Finder, turn: str) -> tuple[Value, Value]:
    """Return the sums of a least-squares fit of a scale to points."""
    p, grid = block.p, form.grid

    def step(number: Value | int, qx: Value, q2: Value) -> tuple[Value, Value]:
        entry = entries[number]
        for axis in range(grid.dimensions):
            index = number * grid.dimensions + axis
            q = p.to_float((finder.level(entry, axis) << 1) + 1)
            w = group.w[index]
            qx = p.multiply_add(f"iq.{turn}.qx", w * group.x[index], q, qx)
            q2 = p.multiply_add(f"iq.{turn}.q2", w * q, q, q2)
        return qx, q2

    qx, q2 = p.fold(form.group // grid.dimensions, (p.f32(0.0), p.f32(0.0)), step, 8 // grid.dimensions)
    return qx, q2


def _fit(block: Block, form: Form, group: Group, live: Value, finder: Finder) -> tuple[Value, Array, Value]:
    """Return the scale of a group and the entries of its points; and the lanes that count."""
    p, count = block.p, form.group // form.grid.dimensions
    points, kept = Points.of(p, count), p.array(count, INT)
    (top,) = p.fold(
        form.group, (group.x[0],), lambda index, top: (p.select(top > group.x[index], top, group.x[index]),)
    )
    live = live & (~(top < binary32(form.least)) if form.least else top != 0.0)
    if form.searched:
        start, _ = positive_scale_search(p, group.x, group.w, form.top + 2)
        divisor = start * float(form.top + 1)
        live = live & ~(divisor <= 0.0)
    else:
        start, divisor = top / form.highest, top
    scale, best = p.variable(start), p.variable(0.0)
    for number in range(count):
        kept[number] = p.i32(0 if form.all_again else ON_GRID)
    numerators = form.numerators()
    block.require_range(group.reach * p.absolute(p.f32(max(numerators)) / divisor), live)
    table = p.table(numerators)
    with p.loop(len(numerators)) as step:
        inverse = p.look_up(table, step) / divisor
        points.scale[0] = p.f32(1.0) / inverse
        _levels_to_points(block, form, group, inverse, points, "next")
        finder.find(points.wanted, points.scale, None, group.x, group.roots, points.entries)
        qx, q2 = _sums(block, form, group, points.entries, finder, "next")
        better = (q2 > 0.0) & (qx * qx > best.get() * q2) & live
        fitted = qx / q2
        scale.set_where(better, fitted)
        best.set_where(better, fitted * qx)
        for number in range(count):
            block.report((points.entries[number] == NOT_FOUND) & live, OVERFLOW)
            kept[number] = p.select(better, points.entries[number], kept[number])
    again = live & (scale.get() > 0.0)
    if not form.searched:
        beside = p.i32(0)
        for number in range(count):
            beside = beside | (~kept[number] & ON_GRID)
        again = again & (beside != 0)
    with p.if_any(again):
        inverse = p.f32(1.0) / scale.get()
        block.require_range(group.reach * inverse, again)
        points.scale[0] = scale.get()
        _levels_to_points(block, form, group, inverse, points, "again")
        finder.find(points.wanted, points.scale, None, group.x, group.roots, points.entries)
        for number in range(count):
            found = again
            if not form.searched and not form.all_again:
                found = again & ((kept[number] & ON_GRID) == 0)
            block.report((points.entries[number] == NOT_FOUND) & found, OVERFLOW)
            kept[number] = p.select(found, points.entries[number], kept[number])
        qx, q2 = _sums(block, form, group, kept, finder, "again")
        scale.set_where(again & (q2 > 0.0), qx / q2)
    return scale.get(), kept, live


def write_block(block: Block, form: Form, pack: Callable[[Block, Found], None]) -> None:
    """Append the work of one type; `pack` writes its bytes."""
    p = block.p
    groups, per_group = QK // form.group, form.group // form.grid.dimensions
    finder = Finder(
        p,
        dimensions=form.grid.dimensions,
        bits=form.grid.bits,
        values=[2.0 * number + 1.0 for number in range(form.grid.levels)],
        count=per_group,
        least=form.grid.least,
    )
    squares = block_squares(block)
    old = form.fudge != 1 and form.grid.name == "IQ3_XXS" and p.does("old.fudge")
    sigma = squares / float(QK) if form.sigma == 1 or old else squares * form.sigma / float(QK)
    found = Found(
        indices=p.array(QK // form.grid.dimensions, INT),
        signs=p.array(QK // 8, INT),
        scales=p.array(groups),
        levels=p.array(groups, INT),
        live=p.array(groups, INT),
    )
    largest = p.variable(0.0)
    with p.loop(groups) as number:
        x = block.x.part(number * form.group, form.group)
        importance = None if block.importance is None else block.importance.part(number * form.group, form.group)
        group = Group.of(block, form, x, importance, sigma)
        signs = _magnitudes(p, form, x, group)
        everywhere = p.i32(0) == 0
        scale, entries, live = _fit(block, form, group, everywhere, finder)
        negative = scale < 0.0
        scale = p.select(live, p.select(negative, -scale, scale), 0.0)
        for eight in range(len(signs)):
            bits = signs[eight]
            turned = p.select(negative, ~bits & (127 if form.even else 255), bits)
            found.signs[number * (form.group // 8) + eight] = p.select(live, turned, 0)
        for point in range(per_group):
            index = (entries[point] >> 16) & 0x3FFF
            found.indices[number * per_group + point] = p.select(live, index, 0)
        found.scales[number] = scale
        found.live[number] = p.widen(live)
        largest.set(p.select(largest.get() > scale, largest.get(), scale))
    nothing = largest.get() == 0.0
    d = largest.get() / 31.0
    inverse = p.f32(1.0) / d
    block.require_range(inverse * largest.get(), ~nothing)
    for group_number in range(groups):
        twice = p.multiply_subtract("iq.block.round", inverse, found.scales[group_number], p.f32(1.0))
        value = p.minimum(nearest(p, twice * 0.5), 15)
        found.levels[group_number] = p.select(nothing, 0, p.maximum(value, 0))
    if not form.keeps:
        with p.if_any(nothing), p.loop(len(found.indices)) as at:
            found.indices[at] = p.select(nothing, 0, found.indices[at])
        with p.if_any(nothing), p.loop(len(found.signs)) as at:
            found.signs[at] = p.select(nothing, 0, found.signs[at])
    scaled = d if form.fudge == 1 or old else d * binary32(form.fudge)
    block.put_half(0, p.select(nothing, 0, to_half(p, scaled)))
    pack(block, found)
