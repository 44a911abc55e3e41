"""Searches for scales, lane by lane: the arithmetic of make_*_quants in ggml-quants.c, operation by operation.

There, the levels of the best candidate are kept; here, what they are a function of: its inverse scale and minimum.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from lftool_strict.kernels.rounding import level_of, nearest, nearest_of
from lftool_strict.lanes.values import INT, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lftool_strict.kernels.block import Block
    from lftool_strict.lanes.program import Program, Variable

GROUP_MAX_EPS = 1e-15
HOT = 16  # steps written in a row where most of the time is spent


def binary32(number: float) -> float:
    """Return the binary32 number nearest to one of binary64.

    Of a sum, product or quotient of two binary32 numbers this is their binary32 result: 53 bits are enough for that.
    """
    rounded: float = struct.unpack("<f", struct.pack("<f", number))[0]
    return rounded


class Vectors(Protocol):
    """A sequence of vectors."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Value | int) -> Value: ...


def eps(p: Program) -> Value:
    """Return the magnitude below which a group counts as zero."""
    return p.f32(binary32(GROUP_MAX_EPS))


def largest(p: Program, x: Vectors) -> tuple[Value, Value]:
    """Return the value of largest magnitude, the first of equals, and its magnitude."""

    def step(index: Value | int, top: Value, magnitude: Value) -> tuple[Value, Value]:
        size = p.absolute(x[index])
        larger = size > magnitude
        return p.select(larger, x[index], top), p.select(larger, size, magnitude)

    top, magnitude = p.fold(len(x), (p.f32(0.0), p.f32(0.0)), step)
    return top, magnitude


@contextmanager
def improving(p: Program, lanes: Value) -> Iterator[Variable]:
    """Repeat the block up to five times, as long as it sets a lane of the variable that it gets; `lanes` count.

    A lane in which nothing changed changes no more, so it does not matter that others go on.
    """
    changed = p.variable(p.widen(lanes))
    with p.loop(5), p.if_any(changed.get() != 0):
        changed.set(p.i32(0))
        yield changed


@frozen(kw_only=True)
class Scale:
    """A symmetric scale; level i is `level(inverse * x[i])` + `offset`, and 0 in the lanes of `zero`."""

    scale: Value
    inverse: Value
    zero: Value
    magnitude: Value
    limit: int

    def levels(self, p: Program, x: Value) -> Value:
        """Return the kept level of a weight, as a float, counted from 0."""
        found = level_of(p, "qx.kept.round", self.inverse, x, -self.limit, self.limit - 1) + float(self.limit)
        return p.select(self.zero, 0.0, found)


def scale_search(p: Program, x: Vectors, w: Vectors, limit: int) -> Scale:
    """make_qx_quants with rmse_type 1: weighted least squares over 19 inverse scales around `-limit / max`.

    Numbers to round are at most `limit` + 1 in magnitude, as groups below 1e-15 are taken for zero.
    """
    top, magnitude = largest(p, x)
    zero = magnitude < eps(p)
    n = len(x)
    weighted = p.array(n)

    def weigh(index: Value | int) -> None:
        weighted[index] = w[index] * x[index]

    p.each(n, weigh)

    def sums(inverse: Value, turn: str) -> list[Value]:
        def step(index: Value | int, lx: Value, l2: Value) -> tuple[Value, Value]:
            found = level_of(p, f"qx.{turn}.round", inverse, x[index], -limit, limit - 1)
            return (
                p.multiply_add(f"qx.{turn}.lx", weighted[index], found, lx),
                p.multiply_add(f"qx.{turn}.l2", w[index] * found, found, l2),
            )

        return p.fold(n, (p.f32(0.0), p.f32(0.0)), step)

    first = p.f32(-limit) / top
    lx, l2 = sums(first, "first")
    start = p.select(l2 != 0.0, lx / l2, 0.0)
    scale, best, kept = p.variable(start), p.variable(start * lx), p.variable(first)
    steps = [step for step in range(-9, 10) if step]
    table = p.table([-binary32(limit + binary32(binary32(0.1) * step)) for step in steps])
    with p.loop(len(steps)) as step:
        inverse = p.look_up(table, step) / top
        lx, l2 = sums(inverse, "next")
        better = (l2 > 0.0) & (lx * lx > best.get() * l2)
        quotient = lx / l2
        scale.set_where(better, quotient)
        best.set_where(better, quotient * lx)
        kept.set_where(better, inverse)
    return Scale(
        scale=p.select(zero, 0.0, scale.get()), inverse=kept.get(), zero=zero, magnitude=magnitude, limit=limit
    )


@frozen(kw_only=True)
class ScaleMin:
    """A scale and a minimum; level i is `level(inverse * (x[i] - origin))`, and 0 in the lanes of `flat`.

    `minimum` is what ggml calls the_min: the negated minimum, not below zero.
    """

    scale: Value
    minimum: Value
    inverse: Value
    origin: Value
    flat: Value
    limit: int

    def levels(self, p: Program, x: Value) -> Value:
        """Return the kept level of a weight, as a float."""
        found = level_of(p, "kx.kept.round", self.inverse, x - self.origin, 0, self.limit)
        return p.select(self.flat, 0.0, found)


@frozen(kw_only=True)
class Steps:
    """Candidates of a scale-and-minimum search: `count` + 1 numerators `first + step * i + limit`, in binary32."""

    limit: int
    first: float
    step: float
    count: int
    mad: bool = False

    def numerators(self, *, fused: bool = False) -> list[float]:
        """Return the numerators, rounded after every operation; `fused` has no rounding of the product.

        Binary64 holds products and sums of these numbers exactly.
        """
        first, step = binary32(self.first), binary32(self.step)
        products = [step * index if fused else binary32(step * index) for index in range(self.count + 1)]
        return [binary32(binary32(first + product) + self.limit) for product in products]


def scale_min_search(block: Block, x: Vectors, w: Vectors, steps: Steps) -> ScaleMin:
    """make_qkx2_quants and make_qkx3_quants: weighted least squares of a scale and a minimum that is not positive."""
    p, n, limit = block.p, len(x), steps.limit

    def first_step(index: Value | int, low: Value, high: Value, sum_w: Value, sum_x: Value) -> tuple[Value, ...]:
        at, weight = x[index], w[index]
        return (
            p.select(at < low, at, low),
            p.select(at > high, at, high),
            sum_w + weight,
            p.multiply_add("kx.x", weight, at, sum_x),
        )

    # -0.0 + w is w, also where w is -0.0.
    low, high, sum_w, sum_x = p.fold(n, (x[0], x[0], p.f32(-0.0), p.f32(-0.0)), first_step)
    least = low
    low = p.select(low > 0.0, 0.0, low)
    flat = high == low
    aux = p.array(n)

    def error(scale: Value, minimum: Value, turn: str) -> Value:
        def step(index: Value | int, total: Value) -> tuple[Value]:
            off = p.multiply_add(f"kx.{turn}.off", scale, aux[index], minimum) - x[index]
            return (p.multiply_add(f"kx.{turn}.error", w[index], p.absolute(off) if steps.mad else off * off, total),)

        return p.fold(n, (p.f32(0.0),), step, HOT)[0]

    inverse = p.f32(limit) / (high - low)

    def note(index: Value | int) -> None:
        aux[index] = level_of(p, "kx.first.round", inverse, x[index] - low, 0, limit)

    p.each(n, note)
    block.require_range(p.absolute(inverse) * (high - low), ~flat)
    first = p.f32(1.0) / inverse
    best = p.variable(error(first, low, "first"))
    scale, minimum = p.variable(first), p.variable(low)
    kept, origin = p.variable(inverse), p.variable(low)
    table = p.table(steps.numerators(fused="kx.numerator" in p.fused))
    with p.loop(steps.count + 1) as step:
        lowest = minimum.get()
        inverse = p.look_up(table, step) / (high - lowest)
        reach = p.maximum(p.absolute(high - lowest), p.absolute(least - lowest))
        block.require_range(p.absolute(inverse) * reach, ~flat)

        def fit(index: Value | int, sum_l: Value, sum_l2: Value, sum_xl: Value) -> tuple[Value, Value, Value]:
            found = level_of(p, "kx.next.round", inverse, x[index] - lowest, 0, limit)
            aux[index] = found
            weighted = w[index] * found
            return (
                p.multiply_add("kx.l", w[index], found, sum_l),
                p.multiply_add("kx.l2", weighted, found, sum_l2),
                p.multiply_add("kx.xl", weighted, x[index], sum_xl),
            )

        sum_l, sum_l2, sum_xl = p.fold(n, [p.f32(0.0)] * 3, fit, HOT)
        determinant = p.difference("kx.determinant", (sum_w, sum_l2), (sum_l, sum_l))
        fitted = p.difference("kx.minimum", (sum_l2, sum_x), (sum_l, sum_xl)) / determinant
        clipped = fitted > 0.0
        this_min = p.select(clipped, 0.0, fitted)
        above = p.select(clipped, sum_xl, p.difference("kx.scale", (sum_w, sum_xl), (sum_x, sum_l)))
        this_scale = above / p.select(clipped, sum_l2, determinant)
        wrong = error(this_scale, this_min, "next")
        better = (determinant > 0.0) & (wrong < best.get())
        best.set_where(better, wrong)
        scale.set_where(better, this_scale)
        minimum.set_where(better, this_min)
        kept.set_where(better, inverse)
        origin.set_where(better, lowest)
    return ScaleMin(
        scale=p.select(flat, 0.0, scale.get()),
        minimum=-p.select(flat, low, minimum.get()),
        inverse=kept.get(),
        origin=origin.get(),
        flat=flat,
        limit=limit,
    )


def positive_scale_search(p: Program, x: Vectors, w: Vectors, limit: int) -> tuple[Value, Sequence[Value]]:
    """make_qp_quants: return the scale, and the levels as integers of 8 bits.

    Levels wrap to 8 bits where ggml stores them in `uint8_t`: negative inputs are rare, and come out as there.
    """
    n = len(x)
    (top,) = p.fold(n, (p.f32(0.0),), lambda index, top: (p.maximum(top, x[index]),))
    zero = top < eps(p)
    inverse = p.f32(limit) / top
    first = p.f32(1.0) / inverse

    def first_error(index: Value | int, total: Value) -> tuple[Value]:
        wrapped = nearest_of(p, "qp.first.round", inverse, x[index]) & 0xFF
        off = p.subtract_product("qp.first.off", x[index], first, p.to_float(wrapped))
        return (p.multiply_add("qp.first.error", w[index] * off, off, total),)

    (total,) = p.fold(n, (p.f32(0.0),), first_error)
    best, kept = p.variable(total), p.variable(inverse)
    steps = [step for step in range(-4, 5) if step]
    table = p.table([binary32(binary32(binary32(0.1) * step) + limit) for step in steps])
    with p.loop(len(steps)) as step:
        inverse = p.look_up(table, step) / top
        scale = p.f32(1.0) / inverse

        def error(index: Value | int, total: Value) -> tuple[Value]:
            found = p.to_float(p.minimum(nearest_of(p, "qp.next.round", inverse, x[index]), limit))
            off = p.subtract_product("qp.next.off", x[index], scale, found)
            return (p.multiply_add("qp.next.error", w[index] * off, off, total),)

        (total,) = p.fold(n, (p.f32(0.0),), error)
        better = total < best.get()
        best.set_where(better, total)
        kept.set_where(better, inverse)
    levels = p.array(n, INT)
    inverse = kept.get()

    def take(index: Value | int, lx: Value, l2: Value) -> tuple[Value, Value]:
        found = p.minimum(nearest_of(p, "qp.kept.round", inverse, x[index]), limit)
        levels[index] = found & 0xFF
        real = p.to_float(found)
        return (
            p.multiply_add("qp.kept.lx", w[index] * x[index], real, lx),
            p.multiply_add("qp.kept.l2", w[index] * real, real, l2),
        )

    lx, l2 = p.fold(n, (p.f32(0.0), p.f32(0.0)), take)
    sum_lx, sum_l2 = p.variable(lx), p.variable(l2)
    with improving(p, ~zero) as changed:

        def improve(index: Value | int) -> None:
            weighted = w[index] * x[index]
            old = p.to_float(levels[index])
            lx = p.subtract_product("qp.better.lx", sum_lx.get(), weighted, old)
            l2 = p.subtract_product("qp.better.l2", sum_l2.get(), w[index] * old, old)
            new = p.minimum(nearest(p, x[index] * l2 / lx), limit)
            real = p.to_float(new)
            new_lx = p.multiply_add("qp.better.new_lx", weighted, real, lx)
            new_l2 = p.multiply_add("qp.better.new_l2", w[index] * real, real, l2)
            better = (lx > 0.0) & (l2 > 0.0) & (new != levels[index])
            better = better & (new_lx * new_lx * sum_l2.get() > sum_lx.get() * sum_lx.get() * new_l2)
            levels[index] = p.select(better, new & 0xFF, levels[index])
            sum_lx.set_where(better, new_lx)
            sum_l2.set_where(better, new_l2)
            changed.set(changed.get() | p.widen(better))

        p.each(n, improve, 2)
    scale = p.select(sum_l2.get() > 0.0, sum_lx.get() / sum_l2.get(), 0.0)
    return p.select(zero, 0.0, scale), [p.select(zero, 0, levels[index]) for index in range(n)]
