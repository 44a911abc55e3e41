"""Move blocks between memory, where each is contiguous, and lanes: transposes written as shuffles of whole vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool_strict.lanes.ir import VectorType, vector
from lftool_strict.lanes.values import BYTE, FLOAT, HALF, INT, SHORT, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool_strict.lanes.ir import FloatType, IntType, Ref
    from lftool_strict.lanes.program import Array, Program

SOURCE_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def _interleave(program: Program, left: Ref, right: Ref) -> tuple[Ref, Ref]:
    width = program.width
    build = program.builder
    halves = []
    for start in (0, width // 2):
        mask = [index for lane in range(start, start + width // 2) for index in (lane, width + lane)]
        halves.append(build.shuffle_vector(left, right, vector(INT, mask)))
    return halves[0], halves[1]


def transpose(program: Program, rows: Sequence[Ref]) -> list[Ref]:
    """Return the columns of `width` vectors: interleaving rows i and i + width/2, log2(width) times."""
    found = list(rows)
    half = program.width // 2
    for _ in range(program.width.bit_length() - 1):
        pairs = [_interleave(program, found[row], found[row + half]) for row in range(half)]
        found = [vector for pair in pairs for vector in pair]
    return found


def lane_pointers(program: Program, base: Value, positions: Sequence[Value], stride: int) -> list[Value]:
    """Return one byte pointer per lane, `stride` bytes times the lane's position behind `base`."""
    build = program.builder
    start = build.bitcast(base.ir, BYTE.as_pointer())
    return [Value(program, build.gep(start, (position * stride).ir)) for position in positions]


def _vector(program: Program, pointer: Value, offset: Value, kind: FloatType | IntType) -> Ref:
    build = program.builder
    place = build.gep(pointer.ir, offset.ir)
    return build.load(build.bitcast(place, VectorType(kind, program.width).as_pointer()), align=1)


def _to_float(program: Program, raw: Ref, kind: str) -> Ref:
    """Return binary32 of a vector of source elements; every value of F16 and BF16 is one of binary32."""
    build, width = program.builder, program.width
    floats, integers = VectorType(FLOAT, width), VectorType(INT, width)
    if kind == "F32":
        return raw
    if kind == "F16" and program.machine.half_precision:
        return build.fpext(raw, floats)
    wide = Value(program, build.zext(raw, integers))
    if kind == "BF16":
        return build.bitcast((wide << 16).ir, floats)
    return half_to_float(program, wide).ir


def load_floats(program: Program, base: Value, offset: Value, kind: str) -> Value:
    """Return `width` consecutive weights of type `kind`, `offset` bytes behind `base`."""
    return Value(program, _to_float(program, _vector(program, base, offset, _raw(program, kind)), kind))


def store_vector(program: Program, base: Value, offset: Value, value: Value, kind: FloatType | IntType) -> None:
    """Write 32-bit integers one behind the other, cut to `kind`."""
    build = program.builder
    whole = VectorType(kind, program.width)
    out = value.ir if value.ir.type == whole else build.trunc(value.ir, whole)
    place = build.bitcast(build.gep(base.ir, offset.ir), whole.as_pointer())
    build.store(out, place, align=1)


def _raw(program: Program, kind: str) -> FloatType | IntType:
    return {"F32": FLOAT, "F16": HALF if program.machine.half_precision else SHORT, "BF16": SHORT}[kind]


def half_to_float(program: Program, half: Value) -> Value:
    """Return the floats of binary16 bits in 32-bit integers, with integer steps; exact, subnormals included."""
    sign = (half & 0x8000) << 16
    # As if the exponent were biased like binary32's; scaling by 2**112 puts it right, and is exact.
    shifted = program.from_bits((half & 0x7FFF) << 13)
    scaled = program.bits(shifted * 2.0**112)
    special = (half & 0x7C00) == 0x7C00  # noqa: PLR2004 - infinity and NaN keep the largest exponent
    return program.from_bits(sign | program.select(special, scaled | 0x7F800000, scaled))


def load_tile(program: Program, pointers: Sequence[Value], kind: str, into: Array, count: int) -> None:
    """Read `count` elements of every lane into `into`: element i becomes vector i.

    Args:
        program: Where to append.
        pointers: Where each lane's elements begin.
        kind: `F32`, `F16` or `BF16`.
        into: Receives them.
        count: A multiple of the width.
    """
    width = program.width
    raw = _raw(program, kind)
    with program.loop(count // width) as group:
        offset = group * (width * SOURCE_BYTES[kind])
        rows = [_to_float(program, _vector(program, pointer, offset, raw), kind) for pointer in pointers]
        for element, column in enumerate(transpose(program, rows)):
            into[group * width + element] = Value(program, column)


def store_tile(program: Program, block: Array, pointers: Sequence[Value], size: int) -> None:
    """Write the bytes of every lane's block: vector i of `block` holds byte i. `size` is at least the width."""
    width = program.width
    build = program.builder

    def chunk(start: Value) -> None:
        rows = transpose(program, [block[start + byte].ir for byte in range(width)])
        for pointer, row in zip(pointers, rows, strict=True):
            place = build.gep(pointer.ir, start.ir)
            build.store(row, build.bitcast(place, row.type.as_pointer()), align=1)

    with program.loop(size // width) as number:
        chunk(number * width)
    if size % width:
        chunk(program.index(size - width))
