"""The frame of every kernel: a loop over tiles of blocks, their weights in lanes, and the bytes of their blocks back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import frozen

from lftool_strict.lanes.program import Array, Program
from lftool_strict.lanes.tiles import SOURCE_BYTES, lane_pointers, load_tile, store_tile
from lftool_strict.lanes.values import BYTE, INT, Value

if TYPE_CHECKING:
    from lftool_strict.lanes.machine import Machine

# What a kernel may report of the blocks it was given.
NOT_FINITE, OUT_OF_RANGE, OVERFLOW, MISPLACED = 1, 2, 4, 8

_INFINITY = 0x7F800000
_HALF_INFINITY = 0x7C00
_ROUNDING_LIMIT = 4194303.0  # nearest_int of ggml-quants.c asserts as much


@frozen(kw_only=True)
class Kernel:
    """How blocks of one type are made.

    Attributes:
        elements: Weights in a block.
        size: Bytes of a block.
        write: Appends the work on one tile.
        importance: Whether an importance matrix changes the result.
        row_sigma: Whether, with an importance matrix, blocks depend on the mean square of their whole row. It is what
            `extra` points to.
        plain: Whether it can be made without an importance matrix.
        grid: Whose points blocks consist of; `extra` points to its tables, see `lftool_strict.kernels.neighbours`.
    """

    elements: int
    size: int
    write: Callable[[Block], None]
    importance: bool = True
    row_sigma: bool = False
    plain: bool = True
    grid: str | None = None


class Block:
    """One tile while its program is written.

    Attributes:
        x: The weights: vector i holds weight i of every lane's block.
        importance: One value per weight; None without an importance matrix.
        sigma: Mean square of each lane's row, where the kernel asks for it.
        out: Receives the bytes of the block.
    """

    def __init__(self, program: Program, kernel: Kernel, *, important: bool) -> None:
        self.p = program
        self.kernel = kernel
        self.x: Array = program.array(kernel.elements)
        self.importance: Array | None = program.array(kernel.elements) if important else None
        self.out: Array = program.array(kernel.size, BYTE)
        self.sigma: Value | None = None
        self._reports = program.variable(program.i32(0))

    def report(self, mask: Value, what: int) -> None:
        """Report `what` of the lanes of `mask`."""
        self._reports.set(self._reports.get() | (self.p.widen(mask) * what))

    def require_range(self, largest: Value, where: Value) -> None:
        """Have the tile made again, exactly, if a number to round is out of range in a lane of `where`."""
        if not self.p.exact:
            self.report(~(largest < _ROUNDING_LIMIT) & where, OUT_OF_RANGE)

    def put(self, place: Value | int, value: Value) -> None:
        """Write the low 8 bits of integers, or bytes, to byte `place` of the block."""
        self.out[place] = value if value.ir.type.element == BYTE else self.p.to_byte(value)

    def require_finite(self, half: Value) -> None:
        """Report binary16 bits that are infinite or NaN; llama.cpp refuses blocks with such a scale."""
        self.report((half & _HALF_INFINITY) == _HALF_INFINITY, OVERFLOW)

    def put_half(self, place: int, half: Value) -> None:
        """Write a finite scale as binary16, little endian."""
        self.require_finite(half)
        self.put(place, half)
        self.put(place + 1, half >> 8)

    def finish(self) -> None:
        """Hand what was reported to the caller."""
        self.p.report(self._reports.get())


def program_name(name: str, kind: str, *, important: bool, exact: bool) -> str:
    """Return the name of a program: output type, source type, and its two variants."""
    return f"{name}_{kind}{'_importance' if important else ''}{'_exact' if exact else ''}"


def block_program(
    name: str,
    kernel: Kernel,
    kind: str,
    machine: Machine,
    *,
    important: bool = False,
    exact: bool = False,
    fused: frozenset[str] = frozenset(),
) -> str:
    """Return the LLVM assembly that makes blocks of a kernel from weights of type `kind`.

    Args:
        name: Of the output type.
        kernel: How its blocks are made.
        kind: `F32`, `F16` or `BF16`.
        machine: Whose lanes to use.
        important: With an importance matrix.
        exact: Rounding for numbers beyond 2**22, slower.
        fused: Places where a multiplication and an addition are one operation.
    """
    program = Program(program_name(name, kind, important=important, exact=exact), machine, exact=exact, fused=fused)
    given = program.arguments
    block = Block(program, kernel, important=important)
    last = given["end"] - 1
    with program.loop((given["end"] - given["begin"] + (program.width - 1)) // program.width) as tile:
        first = given["begin"] + tile * program.width
        # Lanes behind the end repeat the last block: they write the same bytes to the same place.
        positions = [_smaller(program, first + lane, last) for lane in range(program.width)]
        pointers = lane_pointers(program, given["source"], positions, kernel.elements * SOURCE_BYTES[kind])
        load_tile(program, pointers, kind, block.x, kernel.elements)
        if block.importance is not None:
            columns = [position % given["per_row"] for position in positions]
            weights = lane_pointers(program, given["importance"], columns, kernel.elements * 4)
            load_tile(program, weights, "F32", block.importance, kernel.elements)
            if kernel.row_sigma:
                block.sigma = program.gather([_row_sigma(program, position) for position in positions])
        block.report(_magnitude(block) >= _INFINITY, NOT_FINITE)
        kernel.write(block)
        store_tile(program, block.out, lane_pointers(program, given["output"], positions, kernel.size), kernel.size)
    block.finish()
    return program.finish()


def _smaller(program: Program, left: Value, right: Value) -> Value:
    return Value(program, program.builder.select((left < right).ir, left.ir, right.ir))


def _row_sigma(program: Program, position: Value) -> Value:
    row = position // program.arguments["per_row"]
    return Value(program, program.builder.load(program.builder.gep(program.arguments["extra"].ir, row.ir)))


def _magnitude(block: Block) -> Value:
    """Return the bits of the largest magnitude of each lane's weights; as integers they are ordered like the floats."""
    program = block.p

    def step(index: Value | int, found: Value) -> tuple[Value]:
        return (program.maximum(found, program.bits(block.x[index]) & 0x7FFFFFFF),)

    return program.fold(block.kernel.elements, (program.i32(0),), step)[0]


def sigma_program(kind: str, machine: Machine, fused: frozenset[str] = frozenset()) -> str:
    """Return the LLVM assembly that writes the mean square of every row, summed in order; a lane is a row.

    `per_row` is the number of weights in a row, a multiple of 32; `output` receives binary32.
    """
    program = Program(program_name("SIGMA", kind, important=False, exact=False), machine, fused=fused)
    given = program.arguments
    last = given["end"] - 1
    chunk = 32
    x = program.array(chunk)
    row_bytes = given["per_row"] * SOURCE_BYTES[kind]
    with program.loop((given["end"] - given["begin"] + (program.width - 1)) // program.width) as tile:
        first = given["begin"] + tile * program.width
        positions = [_smaller(program, first + lane, last) for lane in range(program.width)]
        total = program.variable(0.0)
        with program.loop(given["per_row"] // chunk) as group:
            offset = group * (chunk * SOURCE_BYTES[kind])
            places = [position * row_bytes + offset for position in positions]
            pointers = lane_pointers(program, given["source"], places, 1)
            load_tile(program, pointers, kind, x, chunk)
            running = total.get()
            for index in range(chunk):
                running = program.multiply_add("row.squares", x[index], x[index], running)
            total.set(running)
        count = Value(program, program.builder.sitofp(given["per_row"].ir, given["extra"].ir.type.pointee))
        mean = total.get() / program.spread(count)
        for lane, position in enumerate(positions):
            place = program.builder.gep(
                program.builder.bitcast(given["output"].ir, given["extra"].ir.type), position.ir
            )
            one = program.builder.extract_element(mean.ir, INT(lane))
            program.builder.store(one, place)
    return program.finish()
