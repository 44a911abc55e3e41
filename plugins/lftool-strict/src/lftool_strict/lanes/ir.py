"""LLVM's assembly, written as text: types, constants, and a builder with one method for each instruction that is used.

llvmlite has the same as objects, which are printed in the end. For programs of ten thousand instructions that took as long as
LLVM's own work. Source of the syntax: LLVM's Language Reference.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

Number = float | int


class Type:
    """A type; equal to others of the same text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Type) and self.text == other.text)

    def __hash__(self) -> int:
        return hash(self.text)

    def as_pointer(self) -> PointerType:
        """Return the type of pointers to it."""
        return PointerType(self)


class VoidType(Type):
    """No value."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("void")


class FloatType(Type):
    """A floating-point number: `half` or `float`. Called with a number, it makes a constant.

    Attributes:
        letter: The type in names of intrinsics.
    """

    __slots__ = ("letter",)

    def __init__(self, text: str, letter: str) -> None:
        super().__init__(text)
        self.letter = letter

    def __call__(self, number: Number) -> Ref:
        """Return a constant."""
        return Ref(self, self.written(number))

    @staticmethod
    def written(number: Number) -> str:
        """Return a constant as text: the bits of the binary64 number of the same value."""
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"


class IntType(Type):
    """An integer. Called with a number, it makes a constant.

    Attributes:
        letter: The type in names of intrinsics.
    """

    __slots__ = ("letter",)

    def __init__(self, bits: int) -> None:
        super().__init__(f"i{bits}")
        self.letter = self.text

    def __call__(self, number: Number) -> Ref:
        """Return a constant."""
        return Ref(self, self.written(number))

    @staticmethod
    def written(number: Number) -> str:
        """Return a constant as text."""
        return str(int(number))


class PointerType(Type):
    """A pointer. LLVM's are all alike; what it points to is known here only."""

    __slots__ = ("pointee",)

    def __init__(self, pointee: Type) -> None:
        super().__init__("ptr")
        self.pointee = pointee


class VectorType(Type):
    """A vector of numbers."""

    __slots__ = ("count", "element", "letter")

    def __init__(self, element: FloatType | IntType, count: int) -> None:
        super().__init__(f"<{count} x {element.text}>")
        self.element, self.count = element, count
        self.letter = f"v{count}{element.letter}"


class ArrayType(Type):
    """An array in memory."""

    __slots__ = ("element",)

    def __init__(self, element: Type, count: int) -> None:
        super().__init__(f"[{count} x {element.text}]")
        self.element = element


class Ref:
    """A value that instructions can name: a constant, an argument, a global, or what an instruction made."""

    __slots__ = ("text", "type")

    def __init__(self, kind: Type, text: str) -> None:
        self.type: Any = kind
        self.text = text

    @property
    def typed(self) -> str:
        """Its type and itself."""
        return f"{self.type.text} {self.text}"


def undefined(kind: Type) -> Ref:
    """Return any value of a type, to be filled."""
    return Ref(kind, "undef")


def vector(element: FloatType | IntType, numbers: Sequence[Number]) -> Ref:
    """Return a constant vector."""
    kind, each = VectorType(element, len(numbers)), [element.written(number) for number in numbers]
    if len(set(each)) == 1:
        return Ref(kind, f"splat ({element.text} {each[0]})")
    return Ref(kind, f"<{', '.join(f'{element.text} {one}' for one in each)}>")


@frozen
class FunctionType:
    """What a function takes and returns."""

    result: Type
    takes: tuple[Type, ...]


@define
class Phi:
    """A value that depends on the block that control came from; those are added once they exist."""

    ref: Ref
    sources: list[str] = field(factory=list)

    def add_incoming(self, value: Ref | Phi, block: Block) -> None:
        """Have this value if control came from `block`."""
        self.sources.append(f"[ {_ref(value).text}, %{block.name} ]")

    def __str__(self) -> str:
        return f"{self.ref.text} = phi {self.ref.type.text} {', '.join(self.sources)}"


def _ref(value: Ref | Phi) -> Ref:
    return value.ref if isinstance(value, Phi) else value


@define
class Block:
    """A basic block."""

    name: str
    function: Function
    lines: list[str | Phi] = field(factory=list)


@define
class Function:
    """A function: declared only, until it has blocks."""

    module: Module
    kind: FunctionType
    name: str
    linkage: str = ""
    attributes: str = ""
    blocks: list[Block] = field(factory=list)
    names: int = 0
    args: list[Ref] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.args = [Ref(kind, f"%a{number}") for number, kind in enumerate(self.kind.takes)]
        self.module.globals[self.name] = self

    def append_basic_block(self, name: str) -> Block:
        """Return a new block behind the others."""
        self.blocks.append(Block(f"{name}{len(self.blocks)}", self))
        return self.blocks[-1]

    def __str__(self) -> str:
        if not self.blocks:
            return f"declare {self.kind.result.text} @{self.name}({', '.join(kind.text for kind in self.kind.takes)})"
        takes = ", ".join(argument.typed for argument in self.args)
        lines = [f"define {self.linkage} {self.kind.result.text} @{self.name}({takes}) {self.attributes} {{"]
        for block in self.blocks:
            lines.append(f"{block.name}:")
            lines += map(str, block.lines)
        return "\n".join([*lines, "}"])


class Module:
    """Functions and constants under construction."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.globals: dict[str, Function | str] = {}

    def function(self, kind: FunctionType, name: str) -> Function:
        """Return the function of that name, declared now or before."""
        found = self.globals.get(name)
        return found if isinstance(found, Function) else Function(self, kind, name)

    def table(self, element: FloatType | IntType, numbers: Sequence[Number], name: str) -> Ref:
        """Return a pointer to a constant array."""
        kind = ArrayType(element, len(numbers))
        items = ", ".join(element(number).typed for number in numbers)
        self.globals[name] = f"@{name} = internal constant {kind.text} [{items}]"
        return Ref(kind.as_pointer(), f"@{name}")

    def __str__(self) -> str:
        return "\n".join([f'; ModuleID = "{self.name}"', *map(str, self.globals.values()), ""])


_SIGNED = {"<": "slt", "<=": "sle", ">": "sgt", ">=": "sge", "==": "eq", "!=": "ne"}
_UNSIGNED = {**_SIGNED, "<": "ult", "<=": "ule", ">": "ugt", ">=": "uge"}
_ORDERED = {"<": "olt", "<=": "ole", ">": "ogt", ">=": "oge", "==": "oeq", "!=": "one"}
_UNORDERED = {"<": "ult", "<=": "ule", ">": "ugt", ">=": "uge", "==": "ueq", "!=": "une"}


class Builder:
    """Appends instructions to a block. None has fast-math flags."""

    def __init__(self, block: Block) -> None:
        self.block = block

    def position_at_end(self, block: Block) -> None:
        """Continue behind what a block has."""
        self.block = block

    def _made(self, kind: Type, text: str) -> Ref:
        function = self.block.function
        function.names += 1
        name = f"%v{function.names}"
        self.block.lines.append(f"{name} = {text}")
        return Ref(kind, name)

    def binary(self, operator: str, left: Ref | Phi, right: Ref | Phi) -> Ref:
        """Append an instruction of two operands of the same type, which the result has too: `fadd`, `and` and so on."""
        left = _ref(left)
        return self._made(left.type, f"{operator} {left.type.text} {left.text}, {_ref(right).text}")

    def not_(self, value: Ref) -> Ref:
        """Flip all bits."""
        kind = value.type
        ones = f"splat ({kind.element.text} -1)" if isinstance(kind, VectorType) else "-1"
        return self._made(kind, f"xor {value.typed}, {ones}")

    def neg(self, value: Ref) -> Ref:
        """Subtract an integer from zero."""
        return self._made(value.type, f"sub {value.type.text} zeroinitializer, {value.text}")

    def fneg(self, value: Ref) -> Ref:
        """Flip the sign bit."""
        return self._made(value.type, f"fneg {value.typed}")

    def _compare(self, operation: str, left: Ref | Phi, right: Ref | Phi) -> Ref:
        left = _ref(left)
        bit = IntType(1)
        kind = VectorType(bit, left.type.count) if isinstance(left.type, VectorType) else bit
        return self._made(kind, f"{operation} {left.type.text} {left.text}, {_ref(right).text}")

    def icmp_signed(self, operator: str, left: Ref | Phi, right: Ref | Phi) -> Ref:
        """Compare integers."""
        return self._compare(f"icmp {_SIGNED[operator]}", left, right)

    def icmp_unsigned(self, operator: str, left: Ref | Phi, right: Ref | Phi) -> Ref:
        """Compare integers without a sign."""
        return self._compare(f"icmp {_UNSIGNED[operator]}", left, right)

    def fcmp_ordered(self, operator: str, left: Ref, right: Ref) -> Ref:
        """Compare floats; false if one is NaN."""
        return self._compare(f"fcmp {_ORDERED[operator]}", left, right)

    def fcmp_unordered(self, operator: str, left: Ref, right: Ref) -> Ref:
        """Compare floats; true if one is NaN."""
        return self._compare(f"fcmp {_UNORDERED[operator]}", left, right)

    def select(self, mask: Ref, yes: Ref | Phi, no: Ref | Phi) -> Ref:
        """Choose between two values, in vectors number by number."""
        yes = _ref(yes)
        return self._made(yes.type, f"select {mask.typed}, {yes.typed}, {_ref(no).typed}")

    def _converted(self, operation: str, value: Ref | Phi, kind: Type) -> Ref:
        return self._made(kind, f"{operation} {_ref(value).typed} to {kind.text}")

    def zext(self, value: Ref | Phi, kind: Type) -> Ref:
        """Widen integers, zeros in front."""
        return self._converted("zext", value, kind)

    def trunc(self, value: Ref | Phi, kind: Type) -> Ref:
        """Cut integers."""
        return self._converted("trunc", value, kind)

    def fpext(self, value: Ref, kind: Type) -> Ref:
        """Widen floats."""
        return self._converted("fpext", value, kind)

    def sitofp(self, value: Ref, kind: Type) -> Ref:
        """Convert integers to floats."""
        return self._converted("sitofp", value, kind)

    def fptosi(self, value: Ref, kind: Type) -> Ref:
        """Convert floats to integers, rounded to zero."""
        return self._converted("fptosi", value, kind)

    def bitcast(self, value: Ref, kind: Type) -> Ref:
        """Take bits for another type; of a pointer, for one to something else."""
        if isinstance(kind, PointerType):
            return Ref(kind, value.text)
        return self._converted("bitcast", value, kind)

    def insert_element(self, whole: Ref, number: Ref, index: Ref) -> Ref:
        """Replace a number of a vector."""
        return self._made(whole.type, f"insertelement {whole.typed}, {number.typed}, {index.typed}")

    def extract_element(self, whole: Ref, index: Ref) -> Ref:
        """Take a number of a vector."""
        return self._made(whole.type.element, f"extractelement {whole.typed}, {index.typed}")

    def shuffle_vector(self, left: Ref, right: Ref, mask: Ref) -> Ref:
        """Pick numbers of two vectors."""
        kind = VectorType(left.type.element, mask.type.count)
        return self._made(kind, f"shufflevector {left.typed}, {right.typed}, {mask.typed}")

    def spread(self, scalar: Ref, count: int) -> Ref:
        """Return a vector with a scalar everywhere."""
        one = self.insert_element(undefined(VectorType(scalar.type, count)), scalar, IntType(32)(0))
        mask = Ref(VectorType(IntType(32), count), "zeroinitializer")
        return self.shuffle_vector(one, one, mask)

    def count_zeros(self, value: Ref) -> Ref:
        """Return how many zero bits an integer ends with."""
        kind = value.type
        function = self.block.function.module.function(FunctionType(kind, (kind, IntType(1))), f"llvm.cttz.{kind.text}")
        return self.call(function, [value, IntType(1)(0)])

    def alloca(self, kind: Type, align: int) -> Ref:
        """Reserve memory of the function."""
        return self._made(kind.as_pointer(), f"alloca {kind.text}, align {align}")

    def gep(self, pointer: Ref, index: Ref | Phi) -> Ref:
        """Return a pointer some elements further; of an array, to one of its elements."""
        pointed = pointer.type.pointee
        if isinstance(pointed, ArrayType):
            pointed = pointed.element
        return self._made(
            pointed.as_pointer(), f"getelementptr {pointed.text}, ptr {pointer.text}, {_ref(index).typed}"
        )

    def load(self, pointer: Ref, align: int | None = None) -> Ref:
        """Read from memory."""
        kind = pointer.type.pointee
        return self._made(kind, f"load {kind.text}, ptr {pointer.text}{f', align {align}' if align else ''}")

    def store(self, value: Ref, pointer: Ref, align: int | None = None) -> None:
        """Write to memory."""
        aligned = f", align {align}" if align else ""
        self.block.lines.append(f"store {value.typed}, ptr {pointer.text}{aligned}")

    def call(self, function: Function, values: list[Ref]) -> Ref:
        """Call a function."""
        result = function.kind.result
        text = f"call {result.text} @{function.name}({', '.join(value.typed for value in values)})"
        if not isinstance(result, VoidType):
            return self._made(result, text)
        self.block.lines.append(text)
        return Ref(result, "")

    def phi(self, kind: Type) -> Phi:
        """Begin a value that depends on where control came from."""
        function = self.block.function
        function.names += 1
        found = Phi(Ref(kind, f"%v{function.names}"))
        self.block.lines.append(found)
        return found

    def branch(self, block: Block) -> None:
        """Go to a block."""
        self.block.lines.append(f"br label %{block.name}")

    def cbranch(self, condition: Ref, yes: Block, no: Block) -> None:
        """Go to one of two blocks."""
        self.block.lines.append(f"br i1 {condition.text}, label %{yes.name}, label %{no.name}")

    def ret_void(self) -> None:
        """Return."""
        self.block.lines.append("ret void")
