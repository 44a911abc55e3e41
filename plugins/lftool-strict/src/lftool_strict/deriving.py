"""Whether a tensor is what a base's tensor becomes, under which arithmetic, and how far from it if under none.

Slabs of rows are made again and compared. All arithmetics that make other blocks of a type begin; one that differs drops
out. Where none is left, more slabs, evenly spread, tell how far the difference goes.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from lftool.api import DeriveRequest, DeriveResult, Distance, Fit, FormatError, RecipeError
from lftool.api.gguf import GGML_TYPES, decode_block, read_imatrix
from lftool_strict.arithmetics import fused_of
from lftool_strict.compiled import SIGMA, Kernels
from lftool_strict.feed import Buffer
from lftool_strict.kernels.block import NOT_FINITE, OUT_OF_RANGE, OVERFLOW
from lftool_strict.kernels.neighbours import tables
from lftool_strict.kernels.registry import FLOATS, KERNELS
from lftool_strict.slabs import importance_of_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lftool.api import TensorBytes

_FIRST_WEIGHTS = 1 << 16  # in which most wrong arithmetics drop out
_SLAB_WEIGHTS = 1 << 20
_SAMPLED_SLABS = 8
_MOST_AT_ONCE = 16
_LOOKED_AT = 64  # differing blocks of a tensor that are decoded
_FLOAT_ELEMENTS = 256  # of a type without blocks that count as one when decoded


@frozen(kw_only=True)
class Rows:
    """Some rows of a tensor, never of two experts."""

    first: int
    count: int
    expert: int


@frozen(kw_only=True)
class Shape:
    """A tensor as rows."""

    columns: int
    rows: int
    stretch: int  # rows that share importance

    def cut(self, weights: int, start: int = 0) -> Iterator[Rows]:
        """Yield rows from `start` on, `weights` at most at a time unless a row has more."""
        most = max(1, weights // self.columns)
        row = start
        while row < self.rows:
            expert = row // self.stretch
            count = min(most, self.rows - row, (expert + 1) * self.stretch - row)
            yield Rows(first=row, count=count, expert=expert)
            row += count


@define
class _Blocks:
    """Differing blocks of one arithmetic."""

    compared: int = 0
    differing: int = 0
    first: int | None = None
    places: list[tuple[int, bytes, bytes]] = field(factory=list)

    def add(self, start: int, made: bytes, theirs: bytes, block: int) -> bool:
        """Compare blocks; return whether they are equal."""
        count = len(made) // block
        self.compared += count
        if made == theirs:
            return True
        for number in range(count):
            ours, other = made[number * block : number * block + block], theirs[number * block : number * block + block]
            if ours != other:
                self.differing += 1
                self.first = start + number if self.first is None else min(self.first, start + number)
                self.places.append((start + number, ours, other))
        return False


@cache
def _kernels(fused: frozenset[str]) -> Kernels:
    return Kernels(fused)


@cache
def _imatrix(path: Path) -> dict[str, array[float]]:
    return read_imatrix(path)


def _address(values: object) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(values))  # type: ignore[arg-type]  # an array or an mmap


class _Thread(threading.local):
    """One thread's buffers."""

    def __init__(self) -> None:
        self.weights, self.rounded, self.blocks, self.sigma = Buffer(), Buffer(), Buffer(), Buffer()


_buffers = _Thread()


def _read(descriptor: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(descriptor, [into], offset)
        if not count:
            raise FormatError("a tensor's file became shorter while it was read")
        into, offset = into[count:], offset + count


@frozen(kw_only=True)
class _Comparison:
    """One tensor and its base, open."""

    request: DeriveRequest
    shape: Shape
    base: int
    made: int
    importance: array[float] | None

    @property
    def kind(self) -> str:
        return self.request.made.type

    def _size(self, tensor: TensorBytes, weights: int) -> int:
        kind = GGML_TYPES[tensor.type]
        return weights // kind.block_elements * kind.block_bytes

    def theirs(self, rows: Rows) -> bytes:
        """Return the blocks of the tensor in question."""
        made, before = self.request.made, rows.first * self.shape.columns
        data = bytearray(self._size(made, rows.count * self.shape.columns))
        _read(self.made, memoryview(data), made.offset + self._size(made, before))
        return bytes(data)

    def weights(self, rows: Rows) -> tuple[Buffer, str]:
        """Return the base's weights, and their type: rounded first if the request says so."""
        base, count = self.request.base, rows.count * self.shape.columns
        buffer = _buffers.weights
        size = self._size(base, count)
        _read(self.base, buffer.of(size), base.offset + self._size(base, rows.first * self.shape.columns))
        through = self.request.through
        if not through or through == base.type or base.type not in FLOATS:
            return buffer, base.type
        rounded = _buffers.rounded
        rounded.of(count * GGML_TYPES[through].block_bytes)
        self._call(
            _kernels(frozenset()), through, base.type, (buffer.address, None, None, rounded.address, 0, count, 0)
        )
        return rounded, through

    def _call(
        self, kernels: Kernels, name: str, kind: str, given: tuple[int | None, ...], *, important: bool = False
    ) -> None:
        flags = ctypes.c_int32(0)
        place = ctypes.addressof(flags)
        kernels.get(name, kind, important=important).call(*given, place)
        if flags.value & OUT_OF_RANGE:
            flags.value = 0
            kernels.get(name, kind, important=important, exact=True).call(*given, place)
        if flags.value & NOT_FINITE:
            raise FormatError(f"tensor {self.request.tensor}: a weight of the base is infinite or not a number")
        if flags.value & OVERFLOW:
            raise FormatError(
                f"tensor {self.request.tensor}: the base's weights are too large, or too small, for the scales of {name}"
            )

    def ours(self, rows: Rows, weights: Buffer, kind: str, fused: frozenset[str]) -> bytes:
        """Return the blocks that an arithmetic makes."""
        count, made = rows.count * self.shape.columns, self.kind
        if kind == made:
            return bytes(weights.of(self._size(self.request.made, count)))
        kernels, blocks = _kernels(fused), _buffers.blocks
        size = self._size(self.request.made, count)
        view = blocks.of(size)
        if made in FLOATS:
            self._call(kernels, made, kind, (weights.address, None, None, blocks.address, 0, count, 0))
            return bytes(view)
        kernel = KERNELS[made]
        important = kernel.importance and self.importance is not None
        importance, extra = None, None
        if kernel.grid is not None:
            extra = tables(kernel.grid).address
        if important:
            importance = _address(self.importance) + 4 * rows.expert * self.shape.columns
            if kernel.row_sigma:
                _buffers.sigma.of(4 * rows.count)
                extra = _buffers.sigma.address
                whole = (weights.address, None, None, extra, 0, rows.count, self.shape.columns)
                self._call(kernels, SIGMA, kind, whole)
        per_row = self.shape.columns // kernel.elements
        given = (weights.address, importance, extra, blocks.address, 0, count // kernel.elements, per_row)
        self._call(kernels, made, kind, given, important=important)
        return bytes(view)


@define
class _Race:
    """Which arithmetics still fit, over slabs that several threads treat."""

    comparison: _Comparison
    candidates: tuple[frozenset[str], ...]
    found: dict[frozenset[str], _Blocks] = field(factory=dict)
    _lock: threading.Lock = field(factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        self.found = {one: _Blocks() for one in self.candidates}

    @property
    def left(self) -> list[frozenset[str]]:
        """The arithmetics that fit so far."""
        return [one for one in self.candidates if not self.found[one].differing]

    @property
    def best(self) -> frozenset[str]:
        """The one that fits best."""

        def badness(one: frozenset[str]) -> tuple[float, int]:
            found = self.found[one]
            return found.differing / max(1, found.compared), -found.compared

        return min(self.candidates, key=badness)

    def treat(self, rows: Rows, chosen: Sequence[frozenset[str]]) -> None:
        """Compare some rows with what some arithmetics make of them."""
        compared, request = self.comparison, self.comparison.request
        kind = GGML_TYPES[request.made.type]
        start = rows.first * compared.shape.columns // kind.block_elements
        theirs = compared.theirs(rows)
        weights, source = compared.weights(rows)
        for one in chosen:
            made = compared.ours(rows, weights, source, one)
            with self._lock:
                self.found[one].add(start, made, theirs, kind.block_bytes)


def _run(race: _Race, slabs: Sequence[Rows], threads: int, chosen: Sequence[frozenset[str]]) -> None:
    if threads == 1 or len(slabs) <= 1:
        for rows in slabs:
            race.treat(rows, chosen)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="derive") as pool:
        for done in [pool.submit(race.treat, rows, chosen) for rows in slabs]:
            done.result()


def _evenly(items: Sequence[Rows], most: int) -> list[Rows]:
    return list(items) if len(items) <= most else [items[at * len(items) // most] for at in range(most)]


def _shape(request: DeriveRequest, *, important: bool) -> Shape:
    dimensions = request.dimensions
    rows = math.prod(dimensions[1:])
    stretch = dimensions[1] if important and len(dimensions) > 1 else rows
    return Shape(columns=dimensions[0], rows=rows, stretch=stretch)


def _check(request: DeriveRequest) -> None:
    base, made = request.base.type, request.made.type
    if base != made and base not in FLOATS:
        raise RecipeError(f"tensor {request.tensor}: the base has {base}, which is quantised already")
    if base != made and made not in KERNELS and made not in FLOATS:
        raise RecipeError(f"tensor {request.tensor}: there is no kernel for {made}")
    if made in KERNELS and base != made and not KERNELS[made].plain and request.imatrix is None:
        raise RecipeError(f"tensor {request.tensor}: {made} needs an importance matrix")
    if any(length != 1 for length in request.dimensions[3:]) and base != made:
        raise RecipeError(f"tensor {request.tensor} has four dimensions, which llama.cpp does not quantise")


def derive(request: DeriveRequest, threads: int) -> DeriveResult:
    """Compare a tensor with what its base becomes; see `lftool.api.Deriver`."""
    _check(request)
    made = request.made.type
    changes = request.base.type != made
    importance = None
    if changes and request.imatrix is not None and made in KERNELS:
        importance = importance_of_columns(request.tensor, request.dimensions, _imatrix(request.imatrix))
        if importance is None and not KERNELS[made].plain:
            raise RecipeError(f"tensor {request.tensor}: {made} needs an importance matrix that covers it")
    depends = changes and made in KERNELS and KERNELS[made].importance
    sets = {
        name: fused_of(name, made, important=importance is not None) if changes else frozenset()
        for name in request.arithmetics
    }
    base = os.open(request.base.path, os.O_RDONLY)
    try:
        theirs = os.open(request.made.path, os.O_RDONLY)
        try:
            shape = _shape(request, important=importance is not None)
            comparison = _Comparison(request=request, shape=shape, base=base, made=theirs, importance=importance)
            race = _Race(comparison, tuple(dict.fromkeys(sets.values())))
            _decide(race, shape, threads, sampled=request.sampled)
            fits = []
            for name in request.arithmetics:
                found = race.found[sets[name]]
                fits.append(Fit(arithmetic=name, compared=found.compared, differing=found.differing, first=found.first))
            distance = None if race.left else _distance(race)
        finally:
            os.close(theirs)
    finally:
        os.close(base)
    kind = GGML_TYPES[made]
    blocks = shape.rows * shape.columns // kind.block_elements
    return DeriveResult(blocks=blocks, importance=depends, fits=tuple(fits), distance=distance)


def _decide(race: _Race, shape: Shape, threads: int, *, sampled: bool) -> None:
    """Compare until no arithmetic is left, or all rows are done; then see how far the difference goes.

    Slabs are treated in batches that grow, so that little is done in vain, and what is compared does not depend on the
    number of threads.
    """
    size, start, batch = _FIRST_WEIGHTS if sampled else _SLAB_WEIGHTS, 0, _MOST_AT_ONCE
    if len(race.candidates) > 1:  # one alone fits every tensor so far, and most likely this one
        first = next(iter(shape.cut(_FIRST_WEIGHTS)))
        race.treat(first, race.candidates)
        start, batch = first.count, 1
    rest = list(shape.cut(size, start))
    if sampled:
        rest = _evenly(rest, _SAMPLED_SLABS)
    while rest and race.left:
        _run(race, rest[:batch], threads, race.left)
        rest, batch = rest[batch:], min(2 * batch, _MOST_AT_ONCE)
    if not race.left:
        _run(race, _evenly(rest, _SAMPLED_SLABS), threads, [race.best])


def _norm(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values))


def _distance(race: _Race) -> Distance:
    """Look at some of the differing blocks of the arithmetic that fits best."""
    best = race.found[race.best]
    comparison, kind = race.comparison, race.comparison.kind
    places = sorted(best.places)
    if len(places) > _LOOKED_AT:
        places = [places[at * len(places) // _LOOKED_AT] for at in range(_LOOKED_AT)]
    levels = relative = 0.0
    worse, worst, apart, size, off, whole = 1.0, places[0][0], 0.0, 0.0, 0.0, 0.0
    for number, ours, theirs in places:
        mine, other = decode_block(kind, ours), decode_block(kind, theirs)
        base = _base_weights(comparison, number, len(mine.values))
        gaps = [a - b for a, b in zip(mine.values, other.values, strict=True)]
        for gap, one, two in zip(gaps, mine.steps, other.steps, strict=True):
            step = max(one, two)
            if gap:
                levels = max(levels, abs(gap) / step if step else math.inf)
        apart, size = apart + _norm(gaps) ** 2, size + _norm(mine.values) ** 2
        error = _norm([a - b for a, b in zip(mine.values, base, strict=True)])
        theirs_error = _norm([a - b for a, b in zip(other.values, base, strict=True)])
        ratio = theirs_error / error if error else (1.0 if not theirs_error else math.inf)
        if ratio > worse:
            worse, worst = ratio, number
        off, whole = off + theirs_error**2, whole + _norm(base) ** 2
    relative = math.sqrt(apart / size) if size else (0.0 if not apart else math.inf)
    from_base = math.sqrt(off / whole) if whole else (0.0 if not off else math.inf)
    return Distance(
        blocks=len(places),
        levels=_finite(levels),
        relative=_finite(relative),
        worse=_finite(worse),
        worst=worst,
        from_base=_finite(from_base),
    )


def _finite(value: float) -> float:
    """Return a number that JSON can hold."""
    return value if math.isfinite(value) else 1e300


def _base_weights(comparison: _Comparison, block: int, count: int) -> list[float]:
    base = comparison.request.base
    kind = GGML_TYPES[base.type]
    size = count // kind.block_elements * kind.block_bytes
    data = bytearray(size)
    _read(comparison.base, memoryview(data), base.offset + block * size)
    if kind.block_elements == 1:
        return decode_block(base.type, bytes(data)).values
    return [
        x
        for at in range(0, size, kind.block_bytes)
        for x in decode_block(base.type, bytes(data[at : at + kind.block_bytes])).values
    ]
