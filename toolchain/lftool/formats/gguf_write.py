"""Write GGUF version 3, for fixed probe inputs, plugins that make weights, and tests."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

from attrs import frozen

from lftool.formats.ggml_types import GGML_TYPES
from lftool.formats.gguf_read import DEFAULT_ALIGNMENT, MAGIC, MAX_NAME_BYTES, GGUFTensor, padding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_VERSION = 3
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY, _I64 = 4, 5, 6, 7, 8, 9, 11
_MAX_U32 = 2**32 - 1

WritableValue = bool | int | float | str | tuple[str, ...] | tuple[int, ...] | tuple[float, ...]


@frozen(kw_only=True)
class TensorData:
    """A tensor to write: dimensions fastest first, type by name, and the bytes of its blocks."""

    name: str
    dimensions: tuple[int, ...]
    type: str
    data: bytes


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _scalar(value: float | str) -> tuple[int, bytes]:
    match value:
        case bool():
            return _BOOL, struct.pack("<B", value)
        case int():
            if 0 <= value <= _MAX_U32:
                return _U32, struct.pack("<I", value)
            return _I64, struct.pack("<q", value)
        case float():
            return _F32, struct.pack("<f", value)
        case str():
            return _STRING, _string(value)


def _value(value: WritableValue) -> bytes:
    if not isinstance(value, tuple):
        kind, data = _scalar(value)
        return struct.pack("<I", kind) + data
    kinds = {_I32 if isinstance(item, int) else _scalar(item)[0] for item in value} or {_STRING}
    if len(kinds) != 1:
        raise ValueError("the elements of an array must have one type")
    kind = kinds.pop()
    items = b"".join(struct.pack("<i", item) if kind == _I32 else _scalar(item)[1] for item in value)
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + items


def _alignment(metadata: Mapping[str, WritableValue]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or value < 1 or value & (value - 1):
        raise ValueError(f"general.alignment is {value!r}, not a power of two")
    return value


def metadata_entry(key: str, value: WritableValue) -> bytes:
    """Return a metadata entry of a header. Integers become u32 if they fit; in arrays, i32.

    Raises:
        ValueError: The value or an array has no GGUF type.
    """
    try:
        return _string(key) + _value(value)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a metadata value has no GGUF type: {error}") from None


def gguf_header(metadata: Mapping[str, WritableValue], tensors: Sequence[TensorData], sizes: Sequence[int]) -> bytes:
    """Return the header, padded to the start of the tensor data.

    Args:
        metadata: Keys and values, in the order to write; see `metadata_entry`.
        tensors: Names, dimensions and types; `data` is ignored.
        sizes: Size of each tensor's data in bytes.

    Raises:
        ValueError: A value or an array has no GGUF type, or a tensor name has more than 63 bytes.
    """
    entries = [metadata_entry(key, value) for key, value in metadata.items()]
    infos = [
        (tensor.name, tensor.dimensions, GGML_TYPES[tensor.type].number, size)
        for tensor, size in zip(tensors, sizes, strict=True)
    ]
    return _assembled(entries, infos, _alignment(metadata))


def _assembled(
    entries: Sequence[bytes], infos: Sequence[tuple[str, tuple[int, ...], int, int]], alignment: int
) -> bytes:
    """Return a header made of encoded entries and the (name, dimensions, type number, size) of the tensors."""
    parts = [MAGIC, struct.pack("<IQQ", _VERSION, len(infos), len(entries)), *entries]
    offset = 0
    for name, dimensions, number, size in infos:
        if len(name.encode()) > MAX_NAME_BYTES:
            raise ValueError(f"the tensor name {name!r} has more than {MAX_NAME_BYTES} bytes: nothing would load it")
        rank = len(dimensions)
        parts.append(_string(name) + struct.pack("<I", rank) + struct.pack(f"<{rank}Q", *dimensions))
        parts.append(struct.pack("<IQ", number, offset))
        offset += size + padding(size, alignment)
    header = b"".join(parts)
    return header + bytes(padding(len(header), alignment))


def copied_header(entries: Sequence[bytes], tensors: Sequence[GGUFTensor], alignment: int) -> bytes:
    """Return a header with unchanged metadata, padded to the start of the tensor data.

    Args:
        entries: Entries of other headers, as `GGUFHeader.extents` delimits them, in the order to write.
        tensors: The tensors, in the order of their data; their old offsets are ignored.
        alignment: The value of `general.alignment` in the entries, or 32.
    """
    infos = [(tensor.name, tensor.dimensions, tensor.type.number, tensor.size) for tensor in tensors]
    return _assembled(entries, infos, alignment)


def write_gguf(file: BinaryIO, metadata: Mapping[str, WritableValue], tensors: Sequence[TensorData]) -> None:
    """Write a whole GGUF, tensors in the order given, each padded to `general.alignment`, 32 bytes by default.

    Raises:
        ValueError: A value or an array has no GGUF type, or a tensor name has more than 63 bytes.
        OSError: It cannot be written.
    """
    alignment = _alignment(metadata)
    file.write(gguf_header(metadata, tensors, [len(tensor.data) for tensor in tensors]))
    for tensor in tensors:
        file.write(tensor.data)
        file.write(bytes(padding(len(tensor.data), alignment)))
