"""How many of the tensors to quantise an importance matrix covers: none is an error, a part is a warning.

Source: `tensor_requires_imatrix` of llama.cpp's src/llama-quant.cpp.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

from lftool.api import FormatError, InputWarning, RecipeError

if TYPE_CHECKING:
    from array import array
    from collections.abc import Mapping, Sequence

    from lftool.api import TensorType
    from lftool.api.gguf import GGUFHeader

_FLOATS = ("F32", "F16", "BF16")
_NEED = ("IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S")
_NEVER = ("token_embd.weight", "output.weight")  # llama.cpp quantises them without, whatever their type
_MOST_NAMED = 40


def _needs(tensor: TensorType, file_type: str) -> bool:
    if tensor.tensor in _NEVER:
        return False
    return tensor.type in _NEED or (tensor.type == "Q2_K" and file_type == "Q2_K_S")


def check_coverage(
    header: GGUFHeader, tensors: Sequence[TensorType], imatrix: Mapping[str, array[float]], file_type: str
) -> None:
    """Check that an importance matrix was measured on these weights, and warn where it covers only a part of them.

    Args:
        header: Header of the weights.
        tensors: The types that they get.
        imatrix: Tensor name to importance.
        file_type: What is made.

    Raises:
        FormatError: It is of another size.
        RecipeError: It covers nothing that is quantised, or misses tensors whose type needs one.
    """
    sources = {tensor.name: tensor for tensor in header.tensors}
    made = [item for item in tensors if item.type not in _FLOATS and item.type != sources[item.tensor].type.name]
    if not made:
        return
    for item in made:
        values, dimensions = imatrix.get(item.tensor), sources[item.tensor].dimensions
        wanted = dimensions[0] * math.prod(dimensions[2:])
        if values is not None and len(values) != wanted and item.tensor != "token_embd.weight":
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
    missing = [item for item in made if item.tensor not in imatrix and _needs(item, file_type)]
    if missing:
        names = ", ".join(item.tensor for item in missing[:_MOST_NAMED])
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise RecipeError(
            f"{file_type} needs an importance matrix, and this one does not cover {names}{more}",
            hints=("give these tensors another type under `overrides`, or measure a matrix that covers them",),
        )
    if known < len(usual):
        warnings.warn(
            f"the importance matrix covers {known} of the {len(usual)} tensors to quantise",
            InputWarning,
            stacklevel=1,
        )
