"""Leave layers out: which tensors stay, and what they are called then.

Source: `remap_layer` of llama.cpp's src/llama-quant.cpp: the layers that stay are numbered anew, without gaps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from lftool.api import RecipeError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lftool.api.gguf import GGUFTensor

_LAYER = re.compile(r"\Ablk\.(\d+)\.")
_ELSEWHERE = re.compile(r".blk\.\d+\.")


def pruned(tensors: Sequence[GGUFTensor], layers: int, prune: Collection[int]) -> list[GGUFTensor]:
    """Return the tensors that stay, with their new names.

    Args:
        tensors: All tensors of a model.
        layers: How many layers it has.
        prune: Numbers of the layers to leave out.

    Raises:
        RecipeError: There is no such layer, none would stay, or layers have names in which they cannot be told.
    """
    if not prune:
        return list(tensors)
    wrong = sorted(layer for layer in prune if not 0 <= layer < layers)
    if wrong:
        raise RecipeError(f"prune_layers: the model has layers 0 to {layers - 1}, and no {wrong[0]}")
    if any(_ELSEWHERE.search(tensor.name) for tensor in tensors):  # of T5: a number alone does not name one
        raise RecipeError("prune_layers: a model with an encoder and a decoder cannot be pruned")
    numbers = {layer: number for number, layer in enumerate(sorted(set(range(layers)) - set(prune)))}
    if not numbers:
        raise RecipeError("prune_layers: no layer would be left")
    found = []
    for tensor in tensors:
        match = _LAYER.match(tensor.name)
        layer = int(match[1]) if match else None
        if match is None or layer is None:
            found.append(tensor)
        elif layer in numbers:
            found.append(attrs.evolve(tensor, name=f"blk.{numbers[layer]}.{tensor.name[match.end() :]}"))
    return found
