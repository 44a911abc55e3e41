"""Values of a program: vectors with one number per lane, and scalars that all lanes share.

Operators become single LLVM instructions without fast-math flags: one IEEE-754 binary32 rounding each, in the order
written. Nothing here contracts, reassociates or replaces a division.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from llvmlite import ir

if TYPE_CHECKING:
    from collections.abc import Callable

FLOAT = ir.FloatType()
HALF = ir.HalfType()
BOOL, BYTE, SHORT, INT, LONG = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))

Number = float | int


def element(kind: ir.Type) -> ir.Type:
    """Return the type of one lane of a vector, or the scalar type itself."""
    return kind.element if isinstance(kind, ir.VectorType) else kind


class Emitter(Protocol):
    """What values are added to: a program, as its values see it."""

    builder: Any

    def like(self, other: Value | Number, model: Value) -> Value:
        """Return `other` as a value of the type of `model`."""


class Value:
    """One LLVM value and the program that it belongs to; a Python number as an operand takes the type of the other."""

    __slots__ = ("ir", "program")
    __hash__ = None  # type: ignore[assignment]  # comparisons make masks

    def __init__(self, program: Emitter, value: Any) -> None:  # noqa: ANN401 - llvmlite has no types
        self.program = program
        self.ir = value

    @property
    def is_float(self) -> bool:
        """Whether the lanes are binary32."""
        return bool(element(self.ir.type) == FLOAT)

    def _binary(self, other: Value | Number, floats: str, integers: str, *, swap: bool = False) -> Value:
        right = self.program.like(other, self)
        left, right = (right, self) if swap else (self, right)
        build: Callable[[Any, Any], Any] = getattr(self.program.builder, floats if self.is_float else integers)
        return Value(self.program, build(left.ir, right.ir))

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
        return self._binary(other, "fdiv", "unavailable")

    def __rtruediv__(self, other: Number) -> Value:
        return self._binary(other, "fdiv", "unavailable", swap=True)

    def __floordiv__(self, other: Value | Number) -> Value:
        """Integers only; of numbers that are not negative."""
        return self._binary(other, "unavailable", "udiv")

    def __mod__(self, other: Value | Number) -> Value:
        """Integers only; of numbers that are not negative."""
        return self._binary(other, "unavailable", "urem")

    def __and__(self, other: Value | Number) -> Value:
        return self._binary(other, "unavailable", "and_")

    def __or__(self, other: Value | Number) -> Value:
        return self._binary(other, "unavailable", "or_")

    def __xor__(self, other: Value | Number) -> Value:
        return self._binary(other, "unavailable", "xor")

    def __lshift__(self, other: Number) -> Value:
        return self._binary(other, "unavailable", "shl")

    def __rshift__(self, other: Number) -> Value:
        """Shift zeros in from the left."""
        return self._binary(other, "unavailable", "lshr")

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
