"""How many of the tensors to quantise an importance matrix covers: none is an error, a part is a warning.

Source: `tensor_requires_imatrix` of llama.cpp's src/llama-quant.cpp.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import TYPE_CHECKING

from lftool.api.transforms import InputWarning
from lftool.errors import FormatError, RecipeError

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Mapping, Sequence

    from lftool.api.transforms import TensorType
    from lftool.formats.gguf_read import GGUFHeader

_FLOATS = ("F32", "F16", "BF16")
_NEED = ("IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S")
# llama.cpp quantises these without, whatever their type.
_NEVER = ("token_embd.weight", "per_layer_token_embd.weight", "output.weight")
_EMBEDDINGS = _NEVER[:2]
_LAYER = re.compile(r"\Ablk\.(\d+)\.(.+)\Z")


def _needs(tensor: TensorType, file_type: str) -> bool:
    if tensor.tensor in _NEVER:
        return False
    return tensor.type in _NEED or (tensor.type == "Q2_K" and file_type == "Q2_K_S")


def _listed(names: Iterable[str]) -> str:
    """Return names in words, those that differ by their layer as one: `blk.{0-29}.attn_q.weight`."""
    groups: dict[str, list[int]] = {}
    for name in names:
        found = _LAYER.match(name)
        layers = groups.setdefault(found[2] if found else name, [])
        if found:
            layers.append(int(found[1]))
    return ", ".join(
        f"blk.{_ranges(sorted(layers))}.{name}" if layers else name for name, layers in sorted(groups.items())
    )


def _ranges(layers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for layer in layers:
        if runs and runs[-1][-1] == layer - 1:
            runs[-1][1:] = [layer]
        else:
            runs.append([layer])
    texts = ["-".join(str(end) for end in run) for run in runs]
    return texts[0] if texts == [str(layers[0])] else "{" + ",".join(texts) + "}"


def check_coverage(
    header: GGUFHeader, tensors: Sequence[TensorType], imatrix: Mapping[str, array[float]] | None, file_type: str
) -> None:
    """Check that an importance matrix was measured on these weights, and warn where it covers only a part of them.

    Without one, checks that no type needs one.

    Args:
        header: Header of the weights.
        tensors: The types that they get.
        imatrix: Tensor name to importance; None if there is no matrix.
        file_type: What is made.

    Raises:
        FormatError: It is of another size.
        RecipeError: It covers nothing that is quantised, or misses tensors whose type needs one; or there is none.
    """
    sources = {tensor.name: tensor for tensor in header.tensors}
    made = [item for item in tensors if item.type not in _FLOATS and item.type != sources[item.tensor].type.name]
    if not made:
        return
    if imatrix is None:
        needing = [item.tensor for item in made if _needs(item, file_type)]
        if needing:
            raise RecipeError(
                f"{file_type} needs an importance matrix, for {_listed(needing)}",
                hints=("name one under [model] imatrix, or choose another file type",),
            )
        return
    for item in made:
        values, dimensions = imatrix.get(item.tensor), sources[item.tensor].dimensions
        wanted = dimensions[0] * math.prod(dimensions[2:])
        if values is not None and len(values) != wanted and item.tensor not in _EMBEDDINGS:
            raise FormatError(
                f"tensor {item.tensor}: the importance matrix has {len(values)} values, expected {wanted}:"
                " it was measured with another model"
            )
    usual = [item for item in made if item.tensor not in _NEVER]  # llama-imatrix measures those two only when asked
    known = sum(1 for item in usual if item.tensor in imatrix)
    if not known and not any(item.tensor in imatrix for item in made if not usual):
        raise RecipeError(
            f"the importance matrix covers none of the {len(usual or made)} tensors to quantise: it was measured on another model",
            hints=("remove model.imatrix from the recipe, or measure one on these weights with llama-imatrix",),
        )
    missing = [item.tensor for item in made if item.tensor not in imatrix and _needs(item, file_type)]
    if missing:
        raise RecipeError(
            f"{file_type} needs an importance matrix, and this one does not cover {_listed(missing)}",
            hints=("give these tensors another type under `overrides`, or measure a matrix that covers them",),
        )
    if known < len(usual):
        warnings.warn(
            f"the importance matrix covers {known} of the {len(usual)} tensors to quantise",
            InputWarning,
            stacklevel=1,
        )
