"""The memory that a model takes when it runs, from its GGUF header: weights by block, and the KV cache.

Sources: gguf-py's constants.py for the keys; llama.cpp's llama-kv-cache.cpp for the bytes per token: keys and values of
every head in 16 bits each, unless the run contract sets `cache_type`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args

from lftool.api import ModelSize
from lftool.formats.ggml_types import GGML_TYPES
from lftool.models.run_contract import CacheType

if TYPE_CHECKING:
    from lftool.formats.gguf_read import GGUFHeader
    from lftool.models.run_contract import RunContract

_BLOCK = re.compile(r"blk\.(\d+)\.")
# Bytes of so many elements, of each cache type (ggml.h).
_CACHE_TYPES = {name: GGML_TYPES[name.upper()] for name in get_args(CacheType)}


def _number(header: GGUFHeader, key: str) -> int | None:
    value = header.metadata.get(f"{header.metadata.get('general.architecture')}.{key}")
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def head_widths(header: GGUFHeader) -> tuple[int, int]:
    """Return how many elements one head's key and value have; 0 if the header does not say."""
    heads = _number(header, "attention.head_count") or 0
    width = (_number(header, "embedding_length") or 0) // heads if heads else 0
    return _number(header, "attention.key_length") or width, _number(header, "attention.value_length") or width


def model_size(header: GGUFHeader, contract: RunContract) -> ModelSize:
    """Return the sizes of a model. If the header does not name the number of heads, the cache counts as 0.

    Args:
        header: Header of the weights.
        contract: The run contract, for the context length and the cache's type.
    """
    kind = _CACHE_TYPES[contract.cache_type or "f16"]
    layers: dict[int, int] = {}
    for tensor in header.tensors:
        match = _BLOCK.match(tensor.name)
        if match:
            layers[int(match[1])] = layers.get(int(match[1]), 0) + tensor.size
    heads = _number(header, "attention.head_count") or 0
    kv_heads = _number(header, "attention.head_count_kv") or heads  # an array if blocks differ: then the largest
    keys, values = head_widths(header)
    return ModelSize(
        weights=sum(tensor.size for tensor in header.tensors),
        layers=tuple(layers[number] for number in sorted(layers)),
        cache=(kv_heads * (keys + values) * kind.block_bytes // kind.block_elements,) * len(layers),
        context=contract.context or _number(header, "context_length") or 0,
        asked=bool(contract.context),
    )
