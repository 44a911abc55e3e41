"""Choose the type of every tensor: `ggml-mix/1`, a pure function of names, shapes, model and request.

Source of the rules: src/llama-quant.cpp of the llama.cpp in llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import FormatError, RecipeError, TensorType
from lftool.api.gguf import GGML_TYPES
from lftool_strict.mixture.parts import EMBEDDINGS, Part, is_matrix, keeps_type, part_of
from lftool_strict.mixture.pruning import pruned
from lftool_strict.mixture.rules import FALLBACKS, ROWS, Place, eight_experts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.api.gguf import GGUFTensor
    from lftool_strict.mixture.model import Model

_LAYER = re.compile(r"\Ablk\.\s*([+-]?\d+)")
_UNQUANTISED = frozenset({"F32", "F16", "BF16"})
_EXPERT_PARTS = (Part.UP, Part.GATE, Part.DOWN)
_NUMBERED = (Part.VALUE, *_EXPERT_PARTS)
_SMALLEST_BLOCK = 32
# Of this architecture, these get Q8_0 at least.
_HALVES = {"glm5-next": ("attn_q_a", "attn_q_b", "nextn.eh_proj")}


@frozen(kw_only=True)
class Request:
    """What decides the types, besides the model and its tensors.

    Attributes:
        file_type: The file type.
        imatrix: Whether there is an importance matrix.
        overrides: Types of tensors by exact name.
        pure: Whether every tensor gets the file type's own type.
        leave_output: Whether `output.weight` keeps its type.
        output: Type of the output matrix; None for the rules' own.
        embedding: Type of the embeddings; None for the rules' own.
        prune: Layers to leave out.
    """

    file_type: str
    imatrix: bool = False
    overrides: Mapping[str, str] = {}
    pure: bool = False
    leave_output: bool = False
    output: str | None = None
    embedding: str | None = None
    prune: tuple[int, ...] = ()


def in_order(tensors: Sequence[GGUFTensor]) -> list[GGUFTensor]:
    """Return tensors in the order in which llama.cpp writes them: by layer, then by name; those without a layer first."""
    return sorted(tensors, key=lambda tensor: (_layer_of(tensor.name, -1), tensor.name.encode()))


def _layer_of(name: str, default: int) -> int:
    found = _LAYER.match(name)
    return default if found is None else int(found[1])


class _Choosing:
    """The types of one file, chosen one after the other."""

    def __init__(self, model: Model, tensors: Sequence[GGUFTensor], request: Request) -> None:
        self.model, self.request, self.row = model, request, ROWS[request.file_type]
        parts = [part_of(tensor.name) for tensor in tensors]
        self.tied = Part.OUTPUT not in parts
        self.values = parts.count(Part.VALUE)
        self.typed = dict.fromkeys(_NUMBERED, 0)

    def type_of(self, tensor: GGUFTensor) -> str:
        """Return the type of a tensor."""
        request, name, part = self.request, tensor.name, part_of(tensor.name)
        if not is_matrix(tensor) or keeps_type(name, self.model.architecture):
            return tensor.type.name
        if part is Part.OUTPUT and request.leave_output:
            return tensor.type.name
        # The embeddings of all layers are large: an override can name them.
        named = name != EMBEDDINGS[0] and name in request.overrides
        if part is Part.EMBEDDING and request.embedding is not None and not named:
            return request.embedding
        if part is Part.OUTPUT and request.output is not None:
            return request.output
        if self.row.type in _UNQUANTISED:
            return self.row.type
        if name in request.overrides:
            return _fitting(tensor, request.overrides[name])
        return _fitting(tensor, self.row.type if request.pure else self._mixed(tensor, part))

    def _mixed(self, tensor: GGUFTensor, part: Part) -> str:
        if any(text in tensor.name for text in _HALVES.get(self.model.architecture, ())):
            return "Q8_0"
        if part is Part.OUTPUT or (self.tied and part is Part.EMBEDDING):
            return self.request.output or self._output(tensor)
        if self.request.file_type == "MXFP4_MOE":
            return "MXFP4" if self._holds_experts(tensor, part) else "Q8_0"
        if part is Part.EMBEDDING:
            return self.request.embedding or self.row.embedding or self.row.type
        place = self._place(tensor.name, part)
        found = next(
            (case.type for case in self.row.parts.get(part, ()) if all(holds(place) for holds in case.conditions)),
            self.row.type,
        )
        return _lifted(found, part, place) if self.row.usual else found

    def _output(self, tensor: GGUFTensor) -> str:
        odd = tensor.dimensions[0] % GGML_TYPES[self.row.type].block_elements
        return "Q8_0" if odd or self.model.architecture == "falcon" else self.row.output

    def _holds_experts(self, tensor: GGUFTensor, part: Part) -> bool:
        stacked = len(tensor.dimensions) > 2 and tensor.dimensions[2] > 1  # noqa: PLR2004 - the third counts experts
        return stacked and (self.model.architecture != "bailingmoe3" or part in _EXPERT_PARTS)

    def _place(self, name: str, part: Part) -> Place:
        """Return where a tensor stands in its part, and count it."""
        before = self.typed.get(part, 0)
        if part in self.typed:
            self.typed[part] += 1
        layer, count = before, self.values if part is Part.VALUE else self.model.layers
        if part in _EXPERT_PARTS and self.model.experts > 1 and self.row.usual:
            # With experts, a layer has several such tensors, or none.
            layer = _layer_of(name, -1)
            if not 0 <= layer < count:
                raise FormatError(f"tensor {name}: its name has no layer below {count}, and its type depends on that")
        return Place(model=self.model, imatrix=self.request.imatrix, before=before, layer=layer, count=count)


def _lifted(kind: str, part: Part, place: Place) -> str:
    """Return the type of a key or value matrix in the few models where it is small beside the others."""
    if part is Part.VALUE and place.model.large and kind in {"Q3_K", "Q4_K"}:
        kind = "Q5_K"
    return "Q8_0" if part in {Part.VALUE, Part.KEY} and eight_experts(place) else kind


def _fitting(tensor: GGUFTensor, kind: str) -> str:
    """Return a type whose blocks divide the rows of a tensor: this one, or what stands for it.

    Raises:
        RecipeError: Nothing stands for it.
    """
    columns, block = tensor.dimensions[0], GGML_TYPES[kind].block_elements
    if columns % block == 0:
        return kind
    if kind not in FALLBACKS and block > _SMALLEST_BLOCK:
        raise RecipeError(
            f"tensor {tensor.name} cannot become {kind}: its rows have {columns} weights, and a block {block}",
            hints=("choose another file type, or another type for this tensor under `overrides`",),
        )
    smaller = FALLBACKS.get(kind, kind)
    return "F16" if columns % GGML_TYPES[smaller].block_elements else smaller


def choose(model: Model, tensors: Sequence[GGUFTensor], request: Request) -> tuple[TensorType, ...]:
    """Return every tensor with its type, in the order of the output.

    Args:
        model: The model.
        tensors: Its tensors, in any order.
        request: What is to be made.

    Raises:
        RecipeError: A tensor fits no type, or a layer to leave out is not there.
        FormatError: The name of a tensor lacks the layer that its type depends on.
    """
    ordered = in_order(pruned(tensors, model.layers, request.prune))
    choosing = _Choosing(model, ordered, request)
    return tuple(TensorType(tensor=tensor.name, type=choosing.type_of(tensor)) for tensor in ordered)
