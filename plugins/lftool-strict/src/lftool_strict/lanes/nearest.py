"""Find the nearest neighbours of points, for one lane after the other: eight or sixteen neighbours at a time in a vector.

The arithmetic is that of iq2_find_best_neighbour and its kin in ggml-quants.c: `(w * diff) * diff` with
`diff = scale * q - x`, summed from the first weight to the last; the first of the smallest wins. A weight has few levels,
so its terms are made once, and a neighbour picks them: the same numbers, added in the same order.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lftool_strict.lanes.ir import Builder, FunctionType, IntType, VectorType, VoidType, vector
from lftool_strict.lanes.values import BYTE, FLOAT, INT, LONG, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool_strict.lanes.ir import Function, Phi, Ref
    from lftool_strict.lanes.program import Array, Program

UNIT = 8  # neighbours; what tables count in
NOT_FOUND = -(1 << 31)  # every distance is infinite
_FLOAT_MAX_BITS = 0x7F7FFFFF
_PERMUTATIONS = {  # by neighbours and bits
    (8, 2): "llvm.x86.avx.vpermilvar.ps.256",
    (8, 3): "llvm.x86.avx2.permps",
    (16, 2): "llvm.x86.avx512.vpermilvar.ps.512",
    (16, 3): "llvm.x86.avx512.permvar.sf.512",
}


def _constant(numbers: Sequence[int]) -> Ref:
    return vector(INT, numbers)


def _reals(numbers: Sequence[float]) -> Ref:
    return vector(FLOAT, numbers)


class Finder:
    """A function of a program that finds the nearest neighbours of a lane's points.

    It reads tables as `lftool_strict.kernels.neighbours` makes them, at the program's argument `extra`.

    Args:
        program: Where the function is added.
        dimensions: Weights of a point.
        bits: Bits of a weight's level: 2 or 3.
        values: What a weight is at each level, for a scale of 1; equally far from each other.
        count: Points of a lane.
        least: `UNIT`s of the shortest list, at most four.
        shifted: Whether the values of each point are moved.
    """

    def __init__(
        self,
        program: Program,
        *,
        dimensions: int,
        bits: int,
        values: Sequence[float],
        count: int,
        least: int,
        shifted: bool = False,
    ) -> None:
        self._program, self._dimensions, self._bits = program, dimensions, bits
        self._step = program.machine.neighbours
        self._values, self._count, self._shifted = values, count, shifted
        self._least = -(-least * UNIT // self._step)
        self._floats, self._integers = VectorType(FLOAT, self._step), VectorType(INT, self._step)
        bytes_, floats, integers = BYTE.as_pointer(), FLOAT.as_pointer(), INT.as_pointer()
        kind = FunctionType(VoidType(), (bytes_, integers, FLOAT, floats, floats, floats, integers))
        self.function = program.module.function(kind, f"{program.name}_nearest")
        self.function.linkage, self.function.attributes = "internal", "noinline"
        self._build = Builder(self.function.append_basic_block("entry"))
        self._permute = self._instruction()
        self._write()

    def find(self, points: Array, scales: Array, shifts: Array | None, x: Array, w: Array, entries: Array) -> None:
        """Find the nearest neighbours of all points of every lane.

        Args:
            points: Levels: vector k has those of the weights from k times the dimensions on.
            scales: One vector.
            shifts: A vector for each point, added to what a weight is.
            x: The weights.
            w: How much they count.
            entries: Receives the entries of the tables.
        """
        program, build = self._program, self._program.builder
        tables = build.bitcast(program.arguments["extra"].ir, BYTE.as_pointer())
        with program.loop(program.width) as lane:
            scale = scales.at(0, lane)
            moved = (shifts or scales).place(0, lane)
            given = [points.place(0, lane), scale, moved, x.place(0, lane), w.place(0, lane)]
            build.call(self.function, [tables, *given, entries.place(0, lane)])

    def level(self, entry: Value, axis: int) -> Value:
        """Return the level of one weight of entries."""
        return (entry >> (self._bits * axis)) & ((1 << self._bits) - 1)

    # the function

    def _write(self) -> None:
        build = self._build
        tables, points, scale, shifts, x, w, entries = self.function.args
        numbers = build.bitcast(tables, INT.as_pointer())
        scales = build.spread(scale, self._step)
        levels = None if self._shifted or self._permute is None else self._levels(None)
        head, after = self.function.append_basic_block("point"), self.function.append_basic_block("after")
        before = build.block
        build.branch(head)
        build.position_at_end(head)
        number = build.phi(LONG)
        number.add_incoming(LONG(0), before)
        lane = build.binary("mul", number, LONG(self._program.width))
        first = build.binary("mul", lane, LONG(self._dimensions))
        where = build.load(build.gep(numbers, build.zext(build.load(build.gep(points, lane)), LONG)))
        shift = build.spread(build.load(build.gep(shifts, lane)), self._step) if self._shifted else None
        if self._shifted and self._permute is not None:
            levels = self._levels(shift)
        terms = self._terms(scales, shift, levels, build.gep(x, first), build.gep(w, first))
        self._search(numbers, where, terms, build.gep(entries, lane))
        following = build.binary("add", number, LONG(1))
        number.add_incoming(following, build.block)
        build.cbranch(build.icmp_signed("<", following, LONG(self._count)), head, after)
        build.position_at_end(after)
        build.ret_void()

    def _terms(
        self, scales: Ref, shift: Ref | None, levels: Ref | None, x: Ref, w: Ref
    ) -> list[Callable[[Ref, Ref | None], Ref]]:
        """Return for each weight what adds the terms of neighbours to a sum, from their levels: by picking them, if possible.

        Args:
            scales: What levels are multiplied with.
            shift: Added to what a weight is; None for nothing.
            levels: What a weight is at each level; None if no instruction picks from that.
            x: The weights.
            w: How much they count.
        """
        build = self._build
        product = None if levels is None or self._fused("near.off") else build.binary("fmul", scales, levels)
        found: list[Callable[[Ref, Ref | None], Ref]] = []
        for axis in range(self._dimensions):
            place = LONG(axis * self._program.width)
            xs, ws = (build.spread(build.load(build.gep(numbers, place)), self._step) for numbers in (x, w))
            if levels is None:
                found.append(partial(self._term, scales, shift, xs, ws))
                continue
            off = self._off(scales, levels, product, xs)
            weighted = build.binary("fmul", ws, off)
            if self._fused("near.sum"):
                found.append(partial(self._picked, (weighted, off)))
            else:
                found.append(partial(self._picked, (build.binary("fmul", weighted, off),)))
        return found

    def _fused(self, place: str) -> bool:
        return place in self._program.fused

    def _off(self, scales: Ref, values: Ref, product: Ref | None, xs: Ref) -> Ref:
        """Return how far weights are from values, times the scale."""
        build = self._build
        if self._fused("near.off"):
            return self._fma(scales, values, build.fneg(xs))
        return build.binary("fsub", build.binary("fmul", scales, values) if product is None else product, xs)

    def _fma(self, left: Ref, right: Ref, more: Ref) -> Ref:
        kind = FunctionType(self._floats, (self._floats,) * 3)
        function = self._program.module.function(kind, f"llvm.fma.v{self._step}f32")
        return self._build.call(function, [left, right, more])

    def _picked(self, factors: tuple[Ref, ...], codes: Ref, total: Ref | None) -> Ref:
        assert self._permute is not None  # noqa: S101 - the caller has checked it
        return self._added([self._build.call(self._permute, [one, codes]) for one in factors], total)

    def _added(self, factors: Sequence[Ref], total: Ref | None) -> Ref:
        """Return a sum and a term more: one number, or the product of two."""
        build = self._build
        if len(factors) > 1 and total is not None and self._fused("near.sum"):
            return self._fma(factors[0], factors[1], total)
        term = factors[0] if len(factors) == 1 else build.binary("fmul", factors[0], factors[1])
        return term if total is None else build.binary("fadd", total, term)

    def _search(self, numbers: Ref, where: Ref, terms: Sequence[Callable[[Ref, Ref | None], Ref]], into: Ref) -> None:
        """Find the nearest of a list.

        Its first steps are taken always: most lists are short, and a branch that goes now this way and now that one costs
        more than a step.
        """
        build, append = self._build, self.function.append_basic_block
        first = build.binary("mul", build.zext(build.binary("lshr", where, INT(8)), LONG), LONG(UNIT))
        units = build.zext(build.binary("and", where, INT(255)), LONG)
        more = self._step // UNIT
        steps = units if more == 1 else build.binary("udiv", build.binary("add", units, LONG(more - 1)), LONG(more))
        beginning = build.gep(numbers, first)
        each = [self._distances(beginning, LONG(step), terms) for step in range(self._least)]
        start = each[0]
        for bits in each[1:]:
            start = build.select(build.icmp_signed("<", bits, start), bits, start)
        smallest = self._spread_least(start)
        least = build.extract_element(smallest, INT(0))
        found_in = INT(0)
        for step, bits in enumerate(each):
            mask = build.zext(build.bitcast(build.icmp_signed("==", bits, smallest), IntType(self._step)), INT)
            found_in = build.binary("or", found_in, build.binary("shl", mask, INT(self._step * step)))
        at = build.count_zeros(found_in)
        entry = build.block
        before, loop, ended, done = append("long"), append("more"), append("several"), append("done")
        build.cbranch(build.icmp_signed(">", steps, LONG(self._least)), before, done)
        build.position_at_end(before)
        begun, begun_places = each[0], _constant(range(self._step))
        for number, bits in enumerate(each[1:], 1):
            places_here = _constant(range(self._step * number, self._step * (number + 1)))
            begun_places = build.select(build.icmp_signed("<", bits, begun), places_here, begun_places)
            begun = build.select(build.icmp_signed("<", bits, begun), bits, begun)
        build.branch(loop)
        build.position_at_end(loop)
        at_step, best, places = build.phi(LONG), build.phi(self._integers), build.phi(self._integers)
        bits = self._distances(beginning, at_step, terms)
        nearer = build.icmp_signed("<", bits, best)
        passed = build.spread(build.trunc(build.binary("mul", at_step, LONG(self._step)), INT), self._step)
        here = build.binary("add", passed, _constant(range(self._step)))
        better, moved = build.select(nearer, bits, best), build.select(nearer, here, places)
        following = build.binary("add", at_step, LONG(1))
        for phi, first_one, next_one in (
            (at_step, LONG(self._least), following),
            (best, start, better),
            (places, begun_places, moved),
        ):
            phi.add_incoming(first_one, before)
            phi.add_incoming(next_one, build.block)
        build.cbranch(build.icmp_signed("<", following, steps), loop, ended)
        build.position_at_end(ended)
        nearest = self._spread_least(better)
        fewest = build.extract_element(nearest, INT(0))
        equal = build.icmp_signed("==", better, nearest)
        first_of = self._spread_least(build.select(equal, moved, _constant([0x7FFFFFFF] * self._step)))
        place = build.extract_element(first_of, INT(0))
        build.branch(done)
        build.position_at_end(done)
        distance, chosen = build.phi(INT), build.phi(INT)
        for phi, short, long in ((distance, least, fewest), (chosen, at, place)):
            phi.add_incoming(short, entry)
            phi.add_incoming(long, ended)
        found = build.load(build.gep(beginning, build.zext(chosen, LONG)))
        none = build.icmp_signed(">=", distance, INT(_FLOAT_MAX_BITS))
        build.store(build.select(none, INT(NOT_FOUND), found), into)

    def _distances(self, beginning: Ref, step: Ref | Phi, terms: Sequence[Callable[[Ref, Ref | None], Ref]]) -> Ref:
        """Return the bits of distances: sums of squares are not below zero, so bits are ordered like them."""
        build = self._build
        place = build.gep(beginning, build.binary("mul", step, LONG(self._step)))
        neighbours = build.load(build.bitcast(place, self._integers.as_pointer()), align=4)
        total: Ref | None = None
        for axis, term in enumerate(terms):
            shifted = _constant([self._bits * axis] * self._step)
            total = term(build.binary("lshr", neighbours, shifted) if axis else neighbours, total)
        assert total is not None  # noqa: S101 - a point has weights
        return build.bitcast(total, self._integers)

    def _term(self, scales: Ref, shift: Ref | None, xs: Ref, ws: Ref, codes: Ref, total: Ref | None) -> Ref:
        build = self._build
        levels = build.binary("and", codes, _constant([(1 << self._bits) - 1] * self._step))
        value = build.sitofp(levels, self._floats)
        rise = self._values[1] - self._values[0]
        if rise != 1:
            value = build.binary("fmul", value, _reals([rise] * self._step))
        value = build.binary("fadd", value, _reals([self._values[0]] * self._step))
        if shift is not None:
            value = build.binary("fadd", value, shift)
        off = self._off(scales, value, None, xs)
        return self._added([build.binary("fmul", ws, off), off], total)

    def _levels(self, shift: Ref | None) -> Ref:
        """Return what weights are at the levels, as the instruction that picks wants them."""
        each = 1 << self._bits
        spread = [self._values[min(level, len(self._values) - 1)] for level in range(each)] * (self._step // each)
        return _reals(spread) if shift is None else self._build.binary("fadd", _reals(spread), shift)

    def _spread_least(self, integers: Ref) -> Ref:
        """Return the smallest of integers in all places."""
        build, distance = self._build, self._step // 2
        while distance:
            other = build.shuffle_vector(integers, integers, _constant([at ^ distance for at in range(self._step)]))
            integers = build.select(build.icmp_signed("<", other, integers), other, integers)
            distance //= 2
        return integers

    def _instruction(self) -> Function | None:
        """Return an instruction that picks from the levels of a weight; None if the processor has none."""
        if not self._program.machine.permutes:
            return None
        kind = FunctionType(self._floats, (self._floats, self._integers))
        return self._program.module.function(kind, _PERMUTATIONS[self._step, self._bits])
