"""Values of a program: vectors with one number per lane, and scalars that all lanes share.

Operators become single LLVM instructions without fast-math flags: one IEEE-754 binary32 rounding each, in the order
written. Nothing here contracts, reassociates or replaces a division.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lftool_strict.lanes.ir import FloatType, IntType, VectorType

if TYPE_CHECKING:
    from lftool_strict.lanes.ir import Builder, Ref, Type

FLOAT, HALF = FloatType("float", "f32"), FloatType("half", "f16")
BYTE, SHORT, INT, LONG = (IntType(bits) for bits in (8, 16, 32, 64))

Number = float | int


def element(kind: Type) -> Type:
    """Return the type of one lane of a vector, or the scalar type itself."""
    return kind.element if isinstance(kind, VectorType) else kind


class Emitter(Protocol):
    """What values are added to: a program, as its values see it."""

    builder: Builder

    def like(self, other: Value | Number, model: Value) -> Value:
        """Return `other` as a value of the type of `model`."""


class Value:
    """One LLVM value and the program that it belongs to; a Python number as an operand takes the type of the other."""

    __slots__ = ("ir", "program")
    __hash__ = None  # type: ignore[assignment]  # comparisons make masks

    def __init__(self, program: Emitter, value: Ref) -> None:
        self.program = program
        self.ir = value

    @property
    def is_float(self) -> bool:
        """Whether the lanes are binary32."""
        return bool(element(self.ir.type) == FLOAT)

    def _binary(self, other: Value | Number, floats: str, integers: str, *, swap: bool = False) -> Value:
        right = self.program.like(other, self)
        left, right = (right, self) if swap else (self, right)
        operator = floats if self.is_float else integers
        if not operator:
            raise TypeError(f"there is no such operation on {self.ir.type.text}")
        return Value(self.program, self.program.builder.binary(operator, left.ir, right.ir))

    def __add__(self, other: Value | Number) -> Value:
        return self._binary(other, "fadd", "add")

    def __radd__(self, other: Number) -> Value:
        return self._binary(other, "fadd", "add", swap=True)

    def __sub__(self, other: Value | Number) -> Value:
        return self._binary(other, "fsub", "sub")

    def __rsub__(self, other: Number) -> Value:
        return self._binary(other, "fsub", "sub", swap=True)

    def __mul__(self, other: Value | Number) -> Value:
        return self._binary(other, "fmul", "mul")

    def __rmul__(self, other: Number) -> Value:
        return self._binary(other, "fmul", "mul", swap=True)

    def __truediv__(self, other: Value | Number) -> Value:
        return self._binary(other, "fdiv", "")

    def __rtruediv__(self, other: Number) -> Value:
        return self._binary(other, "fdiv", "", swap=True)

    def __floordiv__(self, other: Value | Number) -> Value:
        """Integers only; of numbers that are not negative."""
        return self._binary(other, "", "udiv")

    def __mod__(self, other: Value | Number) -> Value:
        """Integers only; of numbers that are not negative."""
        return self._binary(other, "", "urem")

    def __and__(self, other: Value | Number) -> Value:
        return self._binary(other, "", "and")

    def __or__(self, other: Value | Number) -> Value:
        return self._binary(other, "", "or")

    def __xor__(self, other: Value | Number) -> Value:
        return self._binary(other, "", "xor")

    def __lshift__(self, other: Number) -> Value:
        return self._binary(other, "", "shl")

    def __rshift__(self, other: Number) -> Value:
        """Shift zeros in from the left."""
        return self._binary(other, "", "lshr")

    def __invert__(self) -> Value:
        return Value(self.program, self.program.builder.not_(self.ir))

    def __neg__(self) -> Value:
        """Flip the sign bit of a float; a subtraction from zero would make +0 of +0."""
        build = self.program.builder
        return Value(self.program, build.fneg(self.ir) if self.is_float else build.neg(self.ir))

    def _compare(self, operator: str, other: Value | Number) -> Value:
        right = self.program.like(other, self)
        build = self.program.builder
        if not self.is_float:
            return Value(self.program, build.icmp_signed(operator, self.ir, right.ir))
        # As in C: a comparison with NaN is false, except "not equal".
        make = build.fcmp_unordered if operator == "!=" else build.fcmp_ordered
        return Value(self.program, make(operator, self.ir, right.ir))

    def __lt__(self, other: Value | Number) -> Value:
        return self._compare("<", other)

    def __le__(self, other: Value | Number) -> Value:
        return self._compare("<=", other)

    def __gt__(self, other: Value | Number) -> Value:
        return self._compare(">", other)

    def __ge__(self, other: Value | Number) -> Value:
        return self._compare(">=", other)

    def __eq__(self, other: Value | Number) -> Value:  # type: ignore[override]  # a mask, not a truth
        return self._compare("==", other)

    def __ne__(self, other: Value | Number) -> Value:  # type: ignore[override]  # as above
        return self._compare("!=", other)
