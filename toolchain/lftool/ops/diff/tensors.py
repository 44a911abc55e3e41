"""Compare tensors: every byte of those that both models have, and what a difference does to the weights.

Blocks are counted exactly where few pieces of a tensor differ, else in some of them, evenly spread. Errors are those of a
sample of blocks that differ.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

from lftool.formats.dequantize import DECODED, decode_block
from lftool.formats.ggml_types import GGML_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lftool.ops.models.opened_model import ModelTensor, OpenedModel
    from lftool.pipeline.ports import Ports

Change = Literal["added", "removed", "reshaped", "retyped", "requantised", "changed"]

_PIECES_COUNTED = 32  # differing pieces of a tensor whose blocks are all counted
_SAMPLE = 32  # spans of weights that are decoded
_SPAN = 256  # weights in a span: a multiple of every block
_SAME_MODEL = 0.25  # relative error up to which two quantised tensors count as made from the same weights
_FLOATS = frozenset({"F32", "F16", "BF16", "F64"})


@frozen(kw_only=True)
class Error:
    """How far weights are from others, of a sample.

    Attributes:
        relative: Norm of the difference over the norm of the first model's weights; 0 where both are zero.
        cosine: Between both; None if one of them is zero.
        largest: The largest difference of a weight.
        weights: How many were looked at.
    """

    relative: float
    cosine: float | None
    largest: float
    weights: int


@frozen(kw_only=True)
class TensorChange:
    """A tensor that differs.

    Attributes:
        name: Its name.
        change: `requantised` if both have the same type of blocks, and are close; `changed` if they are not.
        types: In the first and in the second model; None where there is none.
        dimensions: The same, fastest first.
        blocks: How many it has; 0 unless both have the same type and shape.
        differing: How many of them differ.
        estimated: Whether that was counted in a part of them.
        first: Number of the first block that differs.
        error: None if the weights cannot be decoded, or do not correspond.
    """

    name: str
    change: Change
    types: tuple[str | None, str | None]
    dimensions: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    blocks: int = 0
    differing: int = 0
    estimated: bool = False
    first: int | None = None
    error: Error | None = None


@frozen(kw_only=True)
class TensorDiff:
    """All tensors that differ, in the order of the first model, and how many are equal."""

    equal: int
    changes: tuple[TensorChange, ...] = field(factory=tuple)


def _elements(tensor: ModelTensor) -> int:
    return math.prod(tensor.dimensions)


def error_of(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Error:
    """Return the error of weights: each pair is some of the first model, and the corresponding ones of the second."""
    norm = other = product = difference = largest = 0.0
    count = 0
    for ours, theirs in pairs:
        for x, y in zip(ours, theirs, strict=True):
            norm, other, product = norm + x * x, other + y * y, product + x * y
            gap = x - y
            difference += gap * gap
            largest = max(largest, abs(gap))
        count += len(ours)
    cosine = product / math.sqrt(norm * other) if norm and other else None
    relative = math.sqrt(difference / norm) if norm else (0.0 if not difference else math.inf)
    return Error(relative=relative, cosine=cosine, largest=largest, weights=count)


def _span(tensor: ModelTensor, start: int, count: int) -> list[float]:
    """Return `count` weights from `start` on, both whole numbers of blocks."""
    kind = GGML_TYPES[tensor.type]
    offset, size = (number // kind.block_elements * kind.block_bytes for number in (start, count))
    data = b"".join(tensor.content.pieces(tensor.offset + offset, size))
    if kind.block_elements == 1:
        return decode_block(kind.name, data).values
    pieces = (data[at : at + kind.block_bytes] for at in range(0, len(data), kind.block_bytes))
    return [value for piece in pieces for value in decode_block(kind.name, piece).values]


def _sampled_error(one: ModelTensor, other: ModelTensor, starts: Sequence[int]) -> Error | None:
    """Return the error at some spans; None if a type cannot be decoded."""
    if not starts or one.type not in DECODED or other.type not in DECODED:
        return None
    count, pairs = _elements(one), []
    for start in starts:
        size = min(_SPAN, count - start)
        pairs.append((_span(one, start, size), _span(other, start, size)))
    return error_of(pairs)


def _evenly(count: int, most: int) -> list[int]:
    """Return up to `most` of the numbers below `count`, evenly spread."""
    if count <= most:
        return list(range(count))
    return [at * count // most for at in range(most)]


def _pieces(one: ModelTensor, other: ModelTensor) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (offset, bytes, bytes) of two tensors of the same size, cut alike."""
    left, right, offset = one.pieces(), other.pieces(), 0
    ours = theirs = b""
    while True:
        ours, theirs = ours or next(left, b""), theirs or next(right, b"")
        size = min(len(ours), len(theirs))
        if not size:
            return
        if len(ours) == len(theirs):
            yield offset, ours, theirs
            ours = theirs = b""
        else:
            yield offset, ours[:size], theirs[:size]
            ours, theirs = ours[size:], theirs[size:]
        offset += size


def _differing(one: bytes, other: bytes, block: int) -> list[int]:
    """Return the numbers of the blocks that differ."""
    return [at // block for at in range(0, len(one), block) if one[at : at + block] != other[at : at + block]]


def _block_bytes(tensor: ModelTensor) -> int:
    kind = GGML_TYPES.get(tensor.type)
    return 1 if kind is None else kind.block_bytes


def _same_type(one: ModelTensor, other: ModelTensor, ports: Ports) -> TensorChange | None:
    """Compare two tensors of the same type and shape; None if they are equal."""
    block, places = _block_bytes(one), []
    for offset, ours, theirs in _pieces(one, other):
        ports.check_cancelled()
        if ours != theirs:
            places.append(offset // block)
    if not places:
        return None
    per_piece = max(1, (1 << 20) // block)
    blocks = one.size // block
    chosen = [places[at] for at in _evenly(len(places), _PIECES_COUNTED)]
    found: list[int] = []
    looked = 0
    for start in chosen:
        size = min(per_piece + 1, blocks - start) * block  # a piece may end inside a block
        data = [b"".join(tensor.content.pieces(tensor.offset + start * block, size)) for tensor in (one, other)]
        found += [start + number for number in _differing(data[0], data[1], block)]
        looked += size // block
    found = sorted(set(found))
    estimated = len(chosen) < len(places)
    differing = round(len(found) / looked * (len(places) * per_piece)) if estimated else len(found)
    per_block = 1 if one.type not in GGML_TYPES else GGML_TYPES[one.type].block_elements
    sample = sorted({found[at] * per_block // _SPAN * _SPAN for at in _evenly(len(found), _SAMPLE)})
    error = _sampled_error(one, other, sample)
    quantised = one.type in GGML_TYPES and one.type not in _FLOATS
    close = error is not None and error.relative <= _SAME_MODEL
    return TensorChange(
        name=one.name,
        change="requantised" if quantised and close else "changed",
        types=(one.type, other.type),
        dimensions=(one.dimensions, other.dimensions),
        blocks=blocks,
        differing=min(differing, blocks),
        estimated=estimated,
        first=found[0],
        error=error,
    )


def _compare(one: ModelTensor, other: ModelTensor, ports: Ports) -> TensorChange | None:
    types, dimensions = (one.type, other.type), (one.dimensions, other.dimensions)
    if one.dimensions != other.dimensions:
        return TensorChange(name=one.name, change="reshaped", types=types, dimensions=dimensions)
    if one.type != other.type:
        starts = [at * _SPAN for at in _evenly(-(-_elements(one) // _SPAN), _SAMPLE)]
        error = _sampled_error(one, other, starts)
        return TensorChange(name=one.name, change="retyped", types=types, dimensions=dimensions, error=error)
    return _same_type(one, other, ports)


def _only(tensor: ModelTensor, change: Change) -> TensorChange:
    if change == "added":
        return TensorChange(
            name=tensor.name, change=change, types=(None, tensor.type), dimensions=(None, tensor.dimensions)
        )
    return TensorChange(
        name=tensor.name, change=change, types=(tensor.type, None), dimensions=(tensor.dimensions, None)
    )


def diff_tensors(one: OpenedModel, other: OpenedModel, ports: Ports) -> TensorDiff:
    """Compare the tensors of two models by name; reads every byte of those with the same type and shape.

    Raises:
        LftoolError: They cannot be read.
    """
    theirs, ours = other.by_name, one.by_name
    common = [tensor for tensor in one.tensors if tensor.name in theirs]
    local = all(content.path is not None for content in (*one.contents, *other.contents))
    workers = min(ports.threads, len(os.sched_getaffinity(0))) if local else 1
    with ThreadPoolExecutor(workers, thread_name_prefix="diff") as pool:
        compared = dict(
            zip(
                (tensor.name for tensor in common),
                pool.map(_compare, common, [theirs[tensor.name] for tensor in common], repeat(ports)),
                strict=True,
            )
        )
    changes = [
        change
        for tensor in one.tensors
        if (change := compared[tensor.name] if tensor.name in compared else _only(tensor, "removed")) is not None
    ]
    changes += [_only(tensor, "added") for tensor in other.tensors if tensor.name not in ours]
    equal = sum(1 for change in compared.values() if change is None)
    return TensorDiff(equal=equal, changes=tuple(changes))
