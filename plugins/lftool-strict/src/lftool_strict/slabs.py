"""Cut the work into slabs of whole rows: where each is read, what it becomes, where it is written. Pure."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import FormatError
from lftool.api.gguf import GGML_TYPES, padding
from lftool_strict.header import quantised, rows_of
from lftool_strict.kernels.registry import FLOATS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lftool.api import TensorType
    from lftool.api.gguf import GGUFHeader, GGUFTensor

SLAB_WEIGHTS = 1 << 20
_EMBEDDINGS = frozenset({"token_embd.weight", "per_layer_token_embd.weight"})


@frozen(kw_only=True)
class Slab:
    """Some rows of a tensor, never of two experts.

    Attributes:
        tensor: Index of the tensor in the output.
        name: Its name.
        source: Type that it is read as.
        made: Type that it becomes.
        rows: How many.
        columns: Weights in a row.
        read: Where it begins in the input, in bytes.
        written: Where it goes in the output, in bytes.
        importance: The importance of its columns; None without an importance matrix.
        expert: Which part of that applies.
    """

    tensor: int
    name: str
    source: str
    made: str
    rows: int
    columns: int
    read: int
    written: int
    importance: array[float] | None = None
    expert: int = 0

    def size(self, name: str) -> int:
        """Return its size in bytes as type `name`."""
        kind = GGML_TYPES[name]
        return self.rows * self.columns // kind.block_elements * kind.block_bytes


@frozen(kw_only=True)
class Work:
    """All slabs of a file, and the size of the output in bytes."""

    slabs: tuple[Slab, ...]
    size: int


def importance_of(tensor: GGUFTensor, imatrix: Mapping[str, array[float]] | None) -> array[float] | None:
    """Return the importance of a tensor's columns; see `importance_of_columns`."""
    return None if imatrix is None else importance_of_columns(tensor.name, tensor.dimensions, imatrix)


def importance_of_columns(
    name: str, dimensions: Sequence[int], imatrix: Mapping[str, array[float]]
) -> array[float] | None:
    """Return the importance of a tensor's columns, as llama.cpp finds it.

    Raises:
        FormatError: It is of another size than the tensor.
    """
    found = imatrix.get(name)
    experts = dimensions[2] if len(dimensions) > 2 else 1  # noqa: PLR2004
    if found is not None and len(found) != dimensions[0] * experts:
        if name not in _EMBEDDINGS:
            raise FormatError(
                f"tensor {name}: the importance matrix has {len(found)} values,"
                f" expected {dimensions[0] * experts}: it was measured with another model"
            )
        found = None
    return found


def _slabs(
    index: int,
    tensor: GGUFTensor,
    made: str,
    start: int,
    written: int,
    found: array[float] | None,
    slab_weights: int,
) -> Iterator[Slab]:
    rows, columns = rows_of(tensor), tensor.dimensions[0]
    # Three dimensions: every expert has rows, and importance, of its own.
    stretch = tensor.dimensions[1] if found is not None and len(tensor.dimensions) > 1 else rows
    most = max(1, slab_weights // columns)
    for expert in range(rows // stretch):
        row = 0
        while row < stretch:
            count = min(most, stretch - row)
            slab = Slab(
                tensor=index,
                name=tensor.name,
                source=tensor.type.name,
                made=made,
                rows=count,
                columns=columns,
                read=start,
                written=written,
                importance=found,
                expert=expert,
            )
            yield slab
            start, written = start + slab.size(slab.source), written + slab.size(made)
            row += count


def plan_work(
    header: GGUFHeader,
    types: Sequence[TensorType],
    head: int,
    imatrix: Mapping[str, array[float]] | None,
    slab_weights: int = SLAB_WEIGHTS,
) -> Work:
    """Return the slabs of all tensors, in the order of the output.

    Args:
        header: Of the weights.
        types: Every tensor and its type, in the order of the output.
        head: Size of the output's header in bytes.
        imatrix: The importance matrix, by tensor.
        slab_weights: How many weights a slab has at most, unless a row has more.

    Raises:
        FormatError: The importance matrix does not fit.
    """
    by_name = {tensor.name: tensor for tensor in header.tensors}
    written = head
    slabs: list[Slab] = []
    for index, item in enumerate(types):
        tensor = by_name[item.tensor]
        source, made = tensor.type.name, item.type
        found = None
        if source != made and made not in FLOATS:
            found = importance_of(tensor, imatrix)
        slabs += _slabs(index, tensor, made, header.data_offset + tensor.offset, written, found, slab_weights)
        size = quantised(tensor, made).size
        written += size + padding(size, header.alignment)
    return Work(slabs=tuple(slabs), size=written)
