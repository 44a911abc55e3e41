"""The memory that a model takes when it runs, from its GGUF header: weights by block, and the KV cache.

Sources: gguf-py's constants.py for the keys; llama.cpp's llama-kv-cache.cpp for the bytes per token: keys and values of
every head in 16 bits each, unless the recipe sets another type.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lftool.api import ModelSize

if TYPE_CHECKING:
    from lftool.formats.gguf_read import GGUFHeader
    from lftool.models.run_contract import RunContract

_BLOCK = re.compile(r"blk\.(\d+)\.")
_F16 = 2


def _number(header: GGUFHeader, key: str) -> int | None:
    value = header.metadata.get(f"{header.metadata.get('general.architecture')}.{key}")
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def model_size(header: GGUFHeader, contract: RunContract) -> ModelSize:
    """Return the sizes of a model. If the header does not name the number of heads, the cache counts as 0.

    Args:
        header: Header of the weights.
        contract: The run contract, for the context length.
    """
    layers: dict[int, int] = {}
    for tensor in header.tensors:
        match = _BLOCK.match(tensor.name)
        if match:
            layers[int(match[1])] = layers.get(int(match[1]), 0) + tensor.size
    heads = _number(header, "attention.head_count") or 0
    kv_heads = _number(header, "attention.head_count_kv") or heads  # an array if blocks differ: then the largest
    width = (_number(header, "embedding_length") or 0) // heads if heads else 0
    keys = _number(header, "attention.key_length") or width
    values = _number(header, "attention.value_length") or width
    return ModelSize(
        weights=sum(tensor.size for tensor in header.tensors),
        layers=tuple(layers[number] for number in sorted(layers)),
        cache=(_F16 * kv_heads * (keys + values),) * len(layers),
        context=contract.context or _number(header, "context_length") or 0,
        asked=bool(contract.context),
    )
