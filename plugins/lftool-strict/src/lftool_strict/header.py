"""The header of a quantised file, as `llama_model_quantize` writes it (llama-quant.cpp, `llama_model_quantize_impl`)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import attrs

from lftool.api.gguf import GGML_TYPES, GGUFArray, copied_header, metadata_entry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from lftool.api import TensorType
    from lftool.api.gguf import GGUFHeader, GGUFTensor

_STRING = 8  # GGUF_TYPE_STRING
_QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
_VERSION_KEY, _FILE_TYPE_KEY = "general.quantization_version", "general.file_type"
_REMOVED = frozenset({_VERSION_KEY, _FILE_TYPE_KEY, "split.no", "split.count", "split.tensors.count"})


def _row_size(tensor: GGUFTensor, name: str) -> int:
    kind = GGML_TYPES[name]
    return tensor.dimensions[0] // kind.block_elements * kind.block_bytes


def rows_of(tensor: GGUFTensor) -> int:
    """Return how many rows a tensor has, over all experts."""
    rows = 1
    for length in tensor.dimensions[1:]:
        rows *= length
    return rows


def quantised(tensor: GGUFTensor, name: str) -> GGUFTensor:
    """Return a tensor as it will be: of type `name`, without dimensions of 1 at its end. Its offset says nothing."""
    dimensions = tensor.dimensions
    while len(dimensions) > 1 and dimensions[-1] == 1:
        dimensions = dimensions[:-1]
    size = rows_of(tensor) * _row_size(tensor, name)
    return attrs.evolve(tensor, type=GGML_TYPES[name], dimensions=dimensions, size=size)


def _as_copied(entry: bytes, key: str, value: object) -> bytes:
    """Return a metadata entry as `gguf_set_kv` copies it: through C strings, which end at a zero byte."""
    if isinstance(value, str):
        return metadata_entry(key, value.partition("\0")[0]) if "\0" in value else entry
    if not isinstance(value, GGUFArray) or value.element_type != _STRING:
        return entry
    head = len(entry) - (value.end - value.start)
    parts, position = [entry[:head]], head
    for _ in range(value.count):
        (length,) = struct.unpack_from("<Q", entry, position)
        text = entry[position + 8 : position + 8 + length].partition(b"\0")[0]
        parts += [struct.pack("<Q", len(text)), text]
        position += 8 + length
    return b"".join(parts)


def quantised_header(file: BinaryIO, header: GGUFHeader, types: Sequence[TensorType], file_type: int) -> bytes:
    """Return the header of the output, padded to where its data begins.

    The metadata stays as it is, without keys of a split; the quantisation version and the file type come last.

    Args:
        file: The weights, open.
        header: Their header.
        types: Every tensor and its type, in the order of the output.
        file_type: Number of the file type.
    """
    entries = []
    for key, (start, end) in header.extents.items():
        if key not in _REMOVED:
            file.seek(start)
            entries.append(_as_copied(file.read(end - start), key, header.metadata[key]))
    entries += [metadata_entry(_VERSION_KEY, _QUANTIZATION_VERSION), metadata_entry(_FILE_TYPE_KEY, file_type)]
    by_name = {tensor.name: tensor for tensor in header.tensors}
    tensors = [quantised(by_name[item.tensor], item.type) for item in types]
    return copied_header(entries, tensors, header.alignment)
