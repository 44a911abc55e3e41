"""Read the header of a safetensors file within budgets, before any other code reads the file.

Source: the format's description in the safetensors repository (README, "Format"): eight bytes of length, JSON, data.
The tensors cover the data without gaps or overlap.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import frozen

from lftool.errors import FormatError

if TYPE_CHECKING:
    from typing import BinaryIO

_MAX_HEADER = (
    32 * 1024 * 1024
)  # enough for a fifth of a million tensors; the library accepts 100 MB, which take a gigabyte to read
_MAX_TENSORS = 1_000_000
_MAX_NUMBER = 2**53
_MAX_DIMENSIONS = 8
_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "U16": 16,
    "I16": 16,
    "U32": 32,
    "I32": 32,
    "U64": 64,
    "I64": 64,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F16": 16,
    "BF16": 16,
    "F32": 32,
    "F64": 64,
    "C64": 64,
}


@frozen(kw_only=True)
class SafetensorsTensor:
    """One tensor: dimensions, slowest first; offset relative to the start of the data, and size, in bytes."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    size: int


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) != len(items):
        raise ValueError("a key twice")
    return found


def _tensor(name: str, entry: object, fail: _Fail) -> SafetensorsTensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        fail(f"tensor {name!r} needs dtype, shape and data_offsets, and nothing else")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _BITS:
        fail(f"tensor {name!r} has the unknown type {kind!r}")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
    if not all(type(number) is int and 0 <= number < _MAX_NUMBER for number in numbers) or len(offsets) != 2:  # noqa: PLR2004 - from, to
        fail(f"tensor {name!r}: shape and data_offsets must be lists of whole numbers below 2^53")
    if len(shape) > _MAX_DIMENSIONS:
        fail(f"tensor {name!r} has {len(shape)} dimensions, at most {_MAX_DIMENSIONS} are allowed")
    bits = _BITS[kind]
    for length in shape:
        bits *= length
    size = offsets[1] - offsets[0]
    if bits != 8 * size:
        fail(f"tensor {name!r}: {kind} of shape {shape} takes {bits // 8} bytes, its data_offsets say {size}")
    return SafetensorsTensor(name=name, type=kind, shape=tuple(shape), offset=offsets[0], size=size)


class _Fail:
    def __init__(self, what: str) -> None:
        self._what = what

    def __call__(self, why: str) -> NoReturn:
        raise FormatError(f"{self._what} is not a sound safetensors file: {why}")


def read_safetensors(file: BinaryIO, size: int, what: str) -> tuple[SafetensorsTensor, ...]:
    """Return the tensors of a safetensors file, in the order of their data.

    Args:
        file: The file, open at its start.
        size: Its size in bytes.
        what: Description for messages.

    Raises:
        FormatError: Not valid: a header that is too large or not JSON, unknown types, tensors that overlap or leave
            gaps, or data that is too short or too long.
    """
    fail = _Fail(what)
    prefix = file.read(8)
    if len(prefix) < 8:  # noqa: PLR2004 - the length of the header
        fail("it is shorter than 8 bytes")
    (length,) = struct.unpack("<Q", prefix)
    if length > min(_MAX_HEADER, size - 8):
        fail(f"its header has {length} bytes, the file {size}, at most {_MAX_HEADER} are allowed")
    try:
        plain = json.loads(file.read(length).decode(), object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        fail(f"its header is not valid JSON: {error}")
    if not isinstance(plain, dict) or len(plain) > _MAX_TENSORS:
        fail(f"its header must be an object of at most {_MAX_TENSORS} tensors")
    plain.pop("__metadata__", None)
    tensors = sorted(
        (_tensor(name, entry, fail) for name, entry in plain.items()), key=lambda item: (item.offset, item.size)
    )
    position = 0
    for tensor in tensors:
        if tensor.offset != position:
            fail(f"tensor {tensor.name!r} begins at {tensor.offset}, expected {position}: a hole, or an overlap")
        position += tensor.size
    if 8 + length + position != size:
        fail(f"header and tensors take {8 + length + position} bytes, the file has {size}")
    return tuple(tensors)
