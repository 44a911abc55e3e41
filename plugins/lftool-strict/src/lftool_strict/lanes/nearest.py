"""Find the nearest neighbours of points, for one lane after the other: eight neighbours at a time in a vector.

The arithmetic is that of iq2_find_best_neighbour and its kin in ggml-quants.c: `(w * diff) * diff` with
`diff = scale * q - x`, summed from the first weight to the last; the first of the smallest wins. A weight has few levels,
so its terms are made once, and a neighbour picks them: the same numbers, added in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from lftool_strict.lanes.values import BYTE, FLOAT, INT, LONG, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool_strict.lanes.program import Array, Program

STEP = 8  # neighbours that are looked at together
NOT_FOUND = -(1 << 31)  # every distance is infinite
_FLOAT_MAX_BITS = 0x7F7FFFFF
_FLOATS, _INTEGERS = ir.VectorType(FLOAT, STEP), ir.VectorType(INT, STEP)
_PAIRS_OF_BITS = 2


def _constant(numbers: Sequence[int]) -> Any:  # noqa: ANN401 - llvmlite has no types
    return ir.Constant(_INTEGERS, list(numbers))


def _reals(numbers: Sequence[float]) -> Any:  # noqa: ANN401 - as above
    return ir.Constant(_FLOATS, [FLOAT(number) for number in numbers])


class Finder:
    """A function of a program that finds the nearest neighbours of a lane's points.

    It reads tables as `lftool_strict.kernels.neighbours` makes them, at the program's argument `extra`.

    Args:
        program: Where the function is added.
        dimensions: Weights of a point.
        bits: Bits of a weight's level: 2 or 3.
        values: What a weight is at each level, for a scale of 1; equally far from each other.
        count: Points of a lane.
        least: Steps of the shortest list, at most four.
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
        self._values, self._count, self._least, self._shifted = values, count, least, shifted
        bytes_, floats, integers = BYTE.as_pointer(), FLOAT.as_pointer(), INT.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [bytes_, integers, FLOAT, floats, floats, floats, integers])
        self.function = ir.Function(program.module, kind, f"{program.name}_nearest")
        self.function.linkage = "internal"
        self.function.attributes.add("noinline")
        self._build: Any = ir.IRBuilder(self.function.append_basic_block("entry"))
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
        scales = self._splat(scale)
        product = None if self._shifted else build.fmul(scales, self._levels(None))
        head, after = self.function.append_basic_block("point"), self.function.append_basic_block("after")
        before = build.block
        build.branch(head)
        build.position_at_end(head)
        number = build.phi(LONG)
        number.add_incoming(LONG(0), before)
        lane = build.mul(number, LONG(self._program.width))
        first = build.mul(lane, LONG(self._dimensions))
        where = build.load(build.gep(numbers, [build.zext(build.load(build.gep(points, [lane])), LONG)]))
        shift = self._splat(build.load(build.gep(shifts, [lane]))) if self._shifted else None
        terms = self._terms(scales, product, shift, build.gep(x, [first]), build.gep(w, [first]))
        self._search(numbers, where, terms, build.gep(entries, [lane]))
        following = build.add(number, LONG(1))
        number.add_incoming(following, build.block)
        build.cbranch(build.icmp_signed("<", following, LONG(self._count)), head, after)
        build.position_at_end(after)
        build.ret_void()

    def _terms(self, scales: Any, product: Any, shift: Any, x: Any, w: Any) -> list[Any]:  # noqa: ANN401 - llvmlite
        """Return for each weight what to ask for a neighbour's term: a table of terms, or what makes one."""
        build, stride = self._build, self._program.width
        if self._permute is not None and product is None:
            product = build.fmul(scales, self._levels(shift))
        found = []
        for axis in range(self._dimensions):
            place = [LONG(axis * stride)]
            xs, ws = self._splat(build.load(build.gep(x, place))), self._splat(build.load(build.gep(w, place)))
            if self._permute is None:
                found.append((scales, shift, xs, ws))
                continue
            off = build.fsub(product, xs)
            found.append(build.fmul(build.fmul(ws, off), off))
        return found

    def _search(self, numbers: Any, where: Any, terms: list[Any], into: Any) -> None:  # noqa: ANN401 - llvmlite
        """Find the nearest of a list.

        Its first steps are taken always: most lists are short, and a branch that goes now this way and now that one costs
        more than a step.
        """
        build, append = self._build, self.function.append_basic_block
        first = build.shl(build.zext(build.lshr(where, INT(8)), LONG), LONG(3))
        steps = build.zext(build.and_(where, INT(255)), LONG)
        beginning = build.gep(numbers, [first])
        each = [self._distances(beginning, LONG(step), terms) for step in range(self._least)]
        start = each[0]
        for bits in each[1:]:
            start = build.select(build.icmp_signed("<", bits, start), bits, start)
        smallest = self._spread_least(start)
        least = build.extract_element(smallest, INT(0))
        found_in = INT(0)
        for step, bits in enumerate(each):
            mask = build.zext(build.bitcast(build.icmp_signed("==", bits, smallest), ir.IntType(STEP)), INT)
            found_in = build.or_(found_in, build.shl(mask, INT(STEP * step)))
        at = build.cttz(found_in, ir.Constant(ir.IntType(1), 0))
        entry = build.block
        before, loop, ended, done = append("long"), append("more"), append("several"), append("done")
        build.cbranch(build.icmp_signed(">", steps, LONG(self._least)), before, done)
        build.position_at_end(before)
        begun, begun_places = each[0], _constant(range(STEP))
        for number, bits in enumerate(each[1:], 1):
            places_here = _constant(range(STEP * number, STEP * (number + 1)))
            begun_places = build.select(build.icmp_signed("<", bits, begun), places_here, begun_places)
            begun = build.select(build.icmp_signed("<", bits, begun), bits, begun)
        build.branch(loop)
        build.position_at_end(loop)
        step, best, places = build.phi(LONG), build.phi(_INTEGERS), build.phi(_INTEGERS)
        bits = self._distances(beginning, step, terms)
        nearer = build.icmp_signed("<", bits, best)
        here = build.add(self._splat(build.trunc(build.shl(step, LONG(3)), INT)), _constant(range(STEP)))
        better, moved = build.select(nearer, bits, best), build.select(nearer, here, places)
        following = build.add(step, LONG(1))
        for phi, first_one, next_one in (
            (step, LONG(self._least), following),
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
        first_of = self._spread_least(build.select(equal, moved, _constant([0x7FFFFFFF] * STEP)))
        place = build.extract_element(first_of, INT(0))
        build.branch(done)
        build.position_at_end(done)
        distance, chosen = build.phi(INT), build.phi(INT)
        for phi, short, long in ((distance, least, fewest), (chosen, at, place)):
            phi.add_incoming(short, entry)
            phi.add_incoming(long, ended)
        found = build.load(build.gep(beginning, [build.zext(chosen, LONG)]))
        none = build.icmp_signed(">=", distance, INT(_FLOAT_MAX_BITS))
        build.store(build.select(none, INT(NOT_FOUND), found), into)

    def _distances(self, beginning: Any, step: Any, terms: list[Any]) -> Any:  # noqa: ANN401 - llvmlite
        """Return the bits of eight distances: sums of squares are not below zero, so bits are ordered like them."""
        build = self._build
        place = build.bitcast(build.gep(beginning, [build.shl(step, LONG(3))]), _INTEGERS.as_pointer())
        neighbours = build.load(place, align=4)
        total = None
        for axis, term in enumerate(terms):
            code = build.lshr(neighbours, _constant([self._bits * axis] * STEP)) if axis else neighbours
            made = self._term(term, code)
            total = made if total is None else build.fadd(total, made)
        return build.bitcast(total, _INTEGERS)

    def _term(self, term: Any, code: Any) -> Any:  # noqa: ANN401 - llvmlite
        build = self._build
        if self._permute is not None:
            return build.call(self._permute, [term, code])
        scales, shift, xs, ws = term
        level = build.and_(code, _constant([(1 << self._bits) - 1] * STEP))
        real = build.sitofp(level, _FLOATS)
        rise = self._values[1] - self._values[0]
        if rise != 1:
            real = build.fmul(real, _reals([rise] * STEP))
        value = build.fadd(real, _reals([self._values[0]] * STEP))
        off = build.fsub(build.fmul(scales, value if shift is None else build.fadd(value, shift)), xs)
        return build.fmul(build.fmul(ws, off), off)

    def _levels(self, shift: Any) -> Any:  # noqa: ANN401 - llvmlite
        """Return what weights are at the levels, as the instruction that picks wants them."""
        each = 1 << self._bits
        spread = [self._values[min(level, len(self._values) - 1)] for level in range(each)] * (STEP // each)
        return _reals(spread) if shift is None else self._build.fadd(_reals(spread), shift)

    def _splat(self, value: Any) -> Any:  # noqa: ANN401 - llvmlite
        build = self._build
        undefined = ir.Constant(ir.VectorType(value.type, STEP), ir.Undefined)
        one = build.insert_element(undefined, value, INT(0))
        return build.shuffle_vector(one, undefined, _constant([0] * STEP))

    def _spread_least(self, integers: Any) -> Any:  # noqa: ANN401 - llvmlite
        """Return the smallest of eight integers in all places."""
        build, distance = self._build, STEP // 2
        while distance:
            other = build.shuffle_vector(integers, integers, _constant([at ^ distance for at in range(STEP)]))
            integers = build.select(build.icmp_signed("<", other, integers), other, integers)
            distance //= 2
        return integers

    def _instruction(self) -> Any:  # noqa: ANN401 - llvmlite
        """Return an instruction that picks from the levels of a weight; None if the processor has none."""
        if not self._program.machine.permutes:
            return None
        name = "llvm.x86.avx.vpermilvar.ps.256" if self._bits == _PAIRS_OF_BITS else "llvm.x86.avx2.permps"
        module = self._program.module
        kind = ir.FunctionType(_FLOATS, [_FLOATS, _INTEGERS])
        return module.globals.get(name) or ir.Function(module, kind, name)
