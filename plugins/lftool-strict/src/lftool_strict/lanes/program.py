"""Write a function that treats many blocks at once: lane k of every vector belongs to block k.

A program is written by running Python: operators and methods append LLVM instructions. A Python loop is unrolled; `loop`
is a loop at run time. What would be a branch on data is a `select` per lane, and `if_any` skips work that no lane needs.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lftool_strict.lanes.ir import (
    ArrayType,
    Builder,
    FunctionType,
    IntType,
    Module,
    Ref,
    VectorType,
    VoidType,
    undefined,
    vector,
)
from lftool_strict.lanes.values import BYTE, FLOAT, INT, LONG, Number, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lftool_strict.lanes.ir import FloatType, Type
    from lftool_strict.lanes.machine import Machine

WRITTEN = 8  # steps of a loop that are written in a row
_ALIGNMENT = 64
_MAGIC = 12582912.0  # 1.5 * 2**23: the sum has no bits behind the point
ARGUMENTS = ("source", "importance", "extra", "output", "begin", "end", "per_row", "flags")


class Array:
    """Scratch memory of the running function: `length` vectors."""

    def __init__(self, program: Program, kind: FloatType | IntType, length: int) -> None:
        self._program, self._kind, self._length = program, kind, length
        self._pointer = program.reserve(ArrayType(VectorType(kind, program.width), length))

    def __len__(self) -> int:
        return self._length

    def _place(self, index: Value | int) -> Ref:
        return self._program.builder.gep(self._pointer, self._program.index(index).ir)

    def __getitem__(self, index: Value | int) -> Value:
        return Value(self._program, self._program.builder.load(self._place(index)))

    def __setitem__(self, index: Value | int, value: Value) -> None:
        self._program.builder.store(value.ir, self._place(index))

    def part(self, start: Value | int, length: int) -> Part:
        """Return the vectors from `start` on, without copying."""
        return Part(self, start, length)

    def place(self, index: Value | int, lane: Value) -> Ref:
        """Return a pointer to one lane of vector `index`; the same lane of the next vector is `width` numbers on."""
        program = self._program
        numbers = program.builder.bitcast(self._pointer, self._kind.as_pointer())
        at = program.index(index) * program.width + lane
        return program.builder.gep(numbers, at.ir)

    def at(self, index: Value | int, lane: Value) -> Ref:
        """Return the number in one lane of vector `index`."""
        return self._program.builder.load(self.place(index, lane))


def _sum(start: Value | int, index: Value | int) -> Value | int:
    """Return a sum of places; of two numbers, a number."""
    return index + start if isinstance(index, Value) else start + index


class Part:
    """Some consecutive vectors of an array."""

    def __init__(self, array: Array, start: Value | int, length: int) -> None:
        self._array, self._start, self._length = array, start, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Value | int) -> Value:
        return self._array[_sum(self._start, index)]

    def __setitem__(self, index: Value | int, value: Value) -> None:
        self._array[_sum(self._start, index)] = value


class Variable:
    """A value that changes: in loops, and under `if_any`."""

    def __init__(self, program: Program, start: Value) -> None:
        self._program = program
        self._pointer = program.reserve(start.ir.type)
        self.set(start)

    def get(self) -> Value:
        """Return the value of now."""
        return Value(self._program, self._program.builder.load(self._pointer))

    def set(self, value: Value) -> None:
        """Change it in all lanes."""
        self._program.builder.store(value.ir, self._pointer)

    def set_where(self, mask: Value, value: Value) -> None:
        """Change it in the lanes of `mask`."""
        self.set(self._program.select(mask, value, self.get()))


class Asked(frozenset[str]):
    """Notes which places a program asks about. It has none; or only those of older code, so that their places show."""

    def __new__(cls, *, does: bool) -> Asked:  # noqa: PYI034 - a set of its own
        """Return a set.

        Args:
            does: Whether it has what older code did.
        """
        found = super().__new__(cls)
        found.places, found.does = set(), does
        return found

    places: set[str]
    does: bool

    def __contains__(self, place: object) -> bool:
        self.places.add(str(place))
        return self.does and str(place).startswith("old.")


class Program:
    """One function under construction, `width` lanes wide.

    Args:
        name: Name of the function.
        machine: Whose lanes and instructions to use.
        exact: Whether rounding is written so that it also holds beyond 2**22, as `nearest_int` of ggml-quants.c does.
        fused: Names of places where a product and a sum are one operation with one rounding, and of what it does as older
            code did.
    """

    def __init__(
        self, name: str, machine: Machine, *, exact: bool = False, fused: frozenset[str] = frozenset()
    ) -> None:
        self.name, self.machine, self.width, self.exact = name, machine, machine.width, exact
        self.fused = fused
        self.module = Module(name)
        pointer, floats = BYTE.as_pointer(), FLOAT.as_pointer()
        kinds = (pointer, floats, floats, pointer, LONG, LONG, LONG, INT.as_pointer())
        self.function = self.module.function(FunctionType(VoidType(), kinds), name)
        self._entry = Builder(self.function.append_basic_block("entry"))
        self.builder = Builder(self.function.append_basic_block("body"))
        self.arguments = {
            name: Value(self, argument) for name, argument in zip(ARGUMENTS, self.function.args, strict=True)
        }
        self._first = self.builder.block
        self._tables = 0

    def finish(self) -> str:
        """End the function and return the module as LLVM assembly."""
        self._entry.branch(self._first)
        self.builder.ret_void()
        return str(self.module)

    def report(self, flags: Value) -> None:
        """Add the flags of all lanes to those of the caller."""
        build, place = self.builder, self.arguments["flags"].ir
        found = self.intrinsic("vector.reduce.or", flags, INT)
        build.store(build.binary("or", build.load(place), found.ir), place)

    def reserve(self, kind: Type) -> Ref:
        """Return a pointer to stack memory for one `kind`."""
        return self._entry.alloca(kind, _ALIGNMENT)

    # constants

    def splat(self, number: Number, kind: FloatType | IntType) -> Value:
        """Return a constant in all lanes."""
        return Value(self, vector(kind, [number] * self.width))

    def f32(self, number: float) -> Value:
        """Return a binary32 constant in all lanes."""
        return self.splat(number, FLOAT)

    def i32(self, number: int) -> Value:
        """Return a 32-bit integer constant in all lanes."""
        return self.splat(number, INT)

    def short(self, number: Value) -> Value:
        """Return the low 32 bits of a 64-bit scalar."""
        return Value(self, self.builder.trunc(number.ir, INT))

    def number(self, index: Value | int) -> Value:
        """Return a 64-bit scalar, or a number, as 32-bit integers in all lanes."""
        return self.spread(self.short(index)) if isinstance(index, Value) else self.i32(index)

    def index(self, number: Value | int) -> Value:
        """Return a 64-bit scalar."""
        return number if isinstance(number, Value) else Value(self, LONG(number))

    def like(self, other: Value | Number, model: Value) -> Value:
        """Return `other` as a value of the type of `model`."""
        if isinstance(other, Value):
            return other
        kind = model.ir.type
        return self.splat(other, kind.element) if isinstance(kind, VectorType) else Value(self, kind(other))

    def spread(self, scalar: Value) -> Value:
        """Return a vector with `scalar` in all lanes."""
        return Value(self, self.builder.spread(scalar.ir, self.width))

    def gather(self, scalars: Sequence[Value]) -> Value:
        """Return a vector of one scalar per lane."""
        whole = undefined(VectorType(scalars[0].ir.type, self.width))
        for lane, scalar in enumerate(scalars):
            whole = self.builder.insert_element(whole, scalar.ir, INT(lane))
        return Value(self, whole)

    def table(self, numbers: Sequence[float]) -> Ref:
        """Return constants that `look_up` reads at run time."""
        self._tables += 1
        return self.module.table(FLOAT, numbers, f"{self.name}.table{self._tables - 1}")

    def places(self, numbers: Sequence[int]) -> Ref:
        """Return constants that `place` reads at run time."""
        self._tables += 1
        return self.module.table(LONG, numbers, f"{self.name}.table{self._tables - 1}")

    def place(self, table: Ref, index: Value | int) -> Value:
        """Return entry `index` of `places`, to index an array with."""
        return Value(self, self.builder.load(self.builder.gep(table, self.index(index).ir)))

    def look_up(self, table: Ref, index: Value) -> Value:
        """Return entry `index`, a scalar, in all lanes."""
        return self.spread(Value(self, self.builder.load(self.builder.gep(table, index.ir))))

    # memory and control

    def array(self, length: int, kind: FloatType | IntType = FLOAT) -> Array:
        """Return scratch memory for `length` vectors."""
        return Array(self, kind, length)

    def variable(self, start: Value | float) -> Variable:
        """Return a variable that holds `start`; a Python number means binary32 in all lanes."""
        return Variable(self, start if isinstance(start, Value) else self.f32(start))

    @contextmanager
    def loop(self, count: Value | int) -> Iterator[Value]:
        """Repeat what is written in the block; gives the scalar index. It runs at least once."""
        build = self.builder
        head, after = self.function.append_basic_block("loop"), self.function.append_basic_block("after")
        before = build.block
        build.branch(head)
        build.position_at_end(head)
        counter = build.phi(LONG)
        counter.add_incoming(LONG(0), before)
        yield Value(self, counter.ref)
        following = build.binary("add", counter, LONG(1))
        counter.add_incoming(following, build.block)
        build.cbranch(build.icmp_signed("<", following, self.index(count).ir), head, after)
        build.position_at_end(after)

    def fold(
        self, count: int, start: Sequence[Value], step: Callable[..., Sequence[Value]], written: int = WRITTEN
    ) -> list[Value]:
        """Return what `step(index, *values)` makes of the values, from the first index to the last.

        Args:
            count: Steps in all.
            start: The values to begin with.
            step: Writes one step; its index is a number, or a scalar of the running loop.
            written: Steps that are written in a row and repeated at run time: more take longer to compile.
        """
        if count <= written:
            values = list(start)
            for index in range(count):
                values = list(step(index, *values))
            return values
        repeated, rest = divmod(count, written)
        kept = [self.variable(value) for value in start]
        with self.loop(repeated) as turn:
            values = [one.get() for one in kept]
            for index in range(written):
                values = list(step(turn * written + index, *values))
            for one, value in zip(kept, values, strict=True):
                one.set(value)
        values = [one.get() for one in kept]
        for index in range(count - rest, count):
            values = list(step(index, *values))
        return values

    def each(self, count: int, step: Callable[[Value | int], None], written: int = WRITTEN) -> None:
        """Do `step(index)` from the first index to the last; see `fold`."""

        def one(index: Value | int) -> Sequence[Value]:
            step(index)
            return ()

        self.fold(count, (), one, written)

    @contextmanager
    def if_any(self, mask: Value) -> Iterator[None]:
        """Do what is written in the block if any lane of `mask` is set; it is done in all lanes then."""
        build = self.builder
        whole = IntType(self.width)
        bits = build.bitcast(mask.ir, whole)
        inside, after = self.function.append_basic_block("some"), self.function.append_basic_block("none")
        build.cbranch(build.icmp_unsigned("!=", bits, whole(0)), inside, after)
        build.position_at_end(inside)
        yield
        build.branch(after)
        build.position_at_end(after)

    # arithmetic

    def select(self, mask: Value, yes: Value | float, no: Value | float) -> Value:
        """Return `yes` in the lanes of `mask`, `no` in the others; two Python numbers mean binary32."""
        if not isinstance(yes, Value):
            yes = self.like(yes, no) if isinstance(no, Value) else self.f32(yes)
        return Value(self, self.builder.select(mask.ir, yes.ir, self.like(no, yes).ir))

    def intrinsic(self, name: str, value: Value, result: Type | None = None) -> Value:
        """Return what an LLVM intrinsic of one vector makes of it; `result` is the vector's own type by default."""
        kind = value.ir.type
        function = self.module.function(FunctionType(result or kind, (kind,)), f"llvm.{name}.{kind.letter}")
        return Value(self, self.builder.call(function, [value.ir]))

    def does(self, choice: str) -> bool:
        """Return whether the program is to do as older code did."""
        return choice in self.fused

    def multiply_add(self, place: str, left: Value, right: Value, more: Value) -> Value:
        """Return `left * right + more`, rounded twice; once where the program fuses the place."""
        if place not in self.fused:
            return left * right + more
        return self._fused(left, right, more)

    def multiply_subtract(self, place: str, left: Value, right: Value, less: Value) -> Value:
        """Return `left * right - less`; see `multiply_add`."""
        if place not in self.fused:
            return left * right - less
        return self._fused(left, right, -less)

    def subtract_product(self, place: str, start: Value, left: Value, right: Value) -> Value:
        """Return `start - left * right`; see `multiply_add`."""
        if place not in self.fused:
            return start - left * right
        return self._fused(-left, right, start)

    def difference(self, place: str, first: tuple[Value, Value], second: tuple[Value, Value]) -> Value:
        """Return the difference of two products; `place.1` fuses the first one, `place.2` the second."""
        if f"{place}.1" in self.fused:
            return self.multiply_subtract(f"{place}.1", *first, second[0] * second[1])
        return self.subtract_product(f"{place}.2", first[0] * first[1], *second)

    def three(self, place: str, *products: tuple[Value, Value]) -> Value:
        """Return the sum of three products, from the first on.

        `place.1` fuses the first product, or `place.2` the second, with their sum; `place.3` fuses the third.
        """
        first, second, third = products
        if f"{place}.1" in self.fused:
            both = self.multiply_add(f"{place}.1", *first, second[0] * second[1])
        else:
            both = self.multiply_add(f"{place}.2", *second, first[0] * first[1])
        return self.multiply_add(f"{place}.3", *third, both)

    def _fused(self, left: Value, right: Value, more: Value) -> Value:
        kind = left.ir.type
        function = self.module.function(FunctionType(kind, (kind, kind, kind)), f"llvm.fma.{kind.letter}")
        return Value(self, self.builder.call(function, [left.ir, right.ir, more.ir]))

    def absolute(self, value: Value) -> Value:
        """Return the magnitude of a float."""
        return self.intrinsic("fabs", value)

    def sqrt(self, value: Value) -> Value:
        """Return the correctly rounded square root."""
        return self.intrinsic("sqrt", value)

    def round_half_even(self, value: Value) -> Value:
        """Round numbers of less than 2**22 to integers, ties to even, as floats."""
        if self.machine.rounding:
            return self.intrinsic("roundeven", value)
        return (value + _MAGIC) - _MAGIC

    def round_half_away(self, value: Value) -> Value:
        """Round to an integer, ties away from zero, as a float: `roundf`."""
        return self.intrinsic("round", value)

    def bits(self, value: Value) -> Value:
        """Return the bits of floats as integers."""
        return Value(self, self.builder.bitcast(value.ir, VectorType(INT, self.width)))

    def from_bits(self, value: Value) -> Value:
        """Return the floats that integers are the bits of."""
        return Value(self, self.builder.bitcast(value.ir, VectorType(FLOAT, self.width)))

    def to_float(self, value: Value) -> Value:
        """Return 32-bit integers as floats."""
        return Value(self, self.builder.sitofp(value.ir, VectorType(FLOAT, self.width)))

    def to_int(self, value: Value) -> Value:
        """Return floats as 32-bit integers, rounded to zero; they must be in range."""
        return Value(self, self.builder.fptosi(value.ir, VectorType(INT, self.width)))

    def to_byte(self, value: Value) -> Value:
        """Return the low 8 bits of integers."""
        return Value(self, self.builder.trunc(value.ir, VectorType(BYTE, self.width)))

    def widen(self, value: Value) -> Value:
        """Return bytes as 32-bit integers, zeros in front; masks become 0 and 1."""
        return Value(self, self.builder.zext(value.ir, VectorType(INT, self.width)))

    def minimum(self, left: Value, right: Value | float) -> Value:
        """Return the smaller; `right` where they are equal or unordered."""
        right = self.like(right, left)
        return self.select(left < right, left, right)

    def maximum(self, left: Value, right: Value | float) -> Value:
        """Return the larger; `right` where they are equal or unordered."""
        right = self.like(right, left)
        return self.select(left > right, left, right)
