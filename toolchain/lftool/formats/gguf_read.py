"""A budgeted reader of GGUF headers (versions 2 and 3).

It bounds every count before it allocates, never recurses, and accepts a file only if its tensors are sorted,
contiguous, aligned, in bounds, and end exactly where the file ends, so nothing can hide between or after them. It reads
no tensor data. Rules: the GGUF specification in ggml's docs/gguf.md, and the cases of llama.cpp's tests/test-gguf.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO

from attrs import frozen

from lftool.errors import FormatError
from lftool.formats.ggml_types import BY_NUMBER, GGMLType

if TYPE_CHECKING:
    from typing import NoReturn

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32

MAX_HEADER = 256 * 1024 * 1024
MAX_KEYS = 65_536
MAX_TENSORS = 65_536
MAX_KEY_BYTES = 65_535
MAX_NAME_BYTES = 63  # the longest that llama.cpp loads (GGML_MAX_NAME)
MAX_STRING_BYTES = 16 * 1024 * 1024
MAX_KEPT_BYTES = 32 * 1024 * 1024  # keys, names and text together; they stay in memory
MAX_ARRAY_ELEMENTS = 16 * 1024 * 1024
MAX_ARRAY_STRINGS = 4 * 1024 * 1024
MAX_DIMENSIONS = 4
_ALIGNMENT = "general.alignment"
_ALIGNMENT_BYTES = 8 + len(_ALIGNMENT) + 4 + 4  # length and text of the key, type, number
MAX_ALIGNMENT = 65_536
_MAX_I64 = 2**63 - 1
_VALUE = "the value of"

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9

# A file that starts with one of these is or contains a Python pickle; loading it would run code.
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@frozen(kw_only=True)
class GGUFArray:
    """An array value: element type number, element count, and the position of its elements in the file (bytes)."""

    element_type: int
    count: int
    start: int
    end: int


@frozen(kw_only=True)
class GGUFTensor:
    """One tensor: dimensions, fastest first; offset relative to the start of the data, and size, in bytes."""

    name: str
    dimensions: tuple[int, ...]
    type: GGMLType
    offset: int
    size: int


GGUFValue = int | float | bool | str | GGUFArray


@frozen(kw_only=True)
class GGUFHeader:
    """The header of a GGUF file: everything before the tensor data.

    Attributes:
        extents: For each key, where its entry (key, type, value) begins and ends in the file, in bytes.
    """

    version: int
    alignment: int
    metadata: Mapping[str, GGUFValue]
    tensors: tuple[GGUFTensor, ...]
    data_offset: int
    size: int
    extents: Mapping[str, tuple[int, int]]

    @property
    def elements(self) -> int:
        """Number of weights."""
        total = 0
        for tensor in self.tensors:
            count = 1
            for dimension in tensor.dimensions:
                count *= dimension
            total += count
        return total

    def bytes_by_type(self) -> dict[str, int]:
        """Return the bytes that each tensor type takes, sorted by name."""
        sums: dict[str, int] = {}
        for tensor in self.tensors:
            sums[tensor.type.name] = sums.get(tensor.type.name, 0) + tensor.size
        return dict(sorted(sums.items()))


class MendableError(FormatError):
    """A file is not a valid GGUF, but `read_damaged_gguf` can read it."""


class _Cursor:
    """Reads forward through the header, refusing to pass the budget or the end of the file."""

    def __init__(self, file: BinaryIO, start: int, size: int, what: str) -> None:
        self.what = what
        self.limit = min(size, MAX_HEADER)
        self.truncated = size <= MAX_HEADER
        self.position = 0
        self.strings = 0
        self.kept = 0
        self._file = file
        self._start = start
        self._buffer = b""
        self._buffer_start = 0

    def fail(self, message: str, error: type[FormatError] = FormatError) -> NoReturn:
        raise error(f"{self.what}: not a sound GGUF: {message}")

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > self.limit:
            if self.truncated:
                self.fail(f"the file ends at byte {self.limit} inside its header: it is truncated")
            self.fail(f"the header is larger than {MAX_HEADER} bytes")
        if end > self._buffer_start + len(self._buffer):
            self._file.seek(self._start + self.position)
            self._buffer_start = self.position
            self._buffer = self._file.read(min(max(count, 1 << 20), self.limit - self.position))
            if len(self._buffer) < count:
                self.fail(
                    f"the file ends at byte {self.position + len(self._buffer)} inside its header: it is truncated"
                )
        offset = self.position - self._buffer_start
        self.position = end
        return self._buffer[offset : offset + count]

    def skip(self, count: int) -> None:
        if self.position + count > self.limit:
            self.take(count)
        self.position += count

    def number(self, layout: str) -> int:
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def string(self, most: int, what: str) -> str:
        length = self.number("<Q")
        if length > most:
            self.fail(f"{what} of {length} bytes, at most {most} are allowed")
        self.kept += length
        if self.kept > MAX_KEPT_BYTES:
            self.fail(f"its keys, names and text take more than {MAX_KEPT_BYTES} bytes")
        data = self.take(length)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return self.undecodable(data, what)

    def undecodable(self, data: bytes, what: str) -> str:
        del data
        self.fail(f"{what} is not UTF-8", MendableError if what.startswith(_VALUE) else FormatError)

    def ends(self, surplus: int) -> None:
        """Refuse extra bytes after the last tensor, or missing padding; llama.cpp accepts both."""
        if surplus:
            kind = f"{surplus} bytes follow" if surplus > 0 else f"{-surplus} padding bytes are missing after"
            self.fail(f"{kind} the last tensor", MendableError)


class _TolerantCursor(_Cursor):
    """Records repairable errors instead of refusing them."""

    def __init__(self, file: BinaryIO, size: int, what: str) -> None:
        super().__init__(file, 0, size, what)
        self.notes: list[str] = []

    def undecodable(self, data: bytes, what: str) -> str:
        if not what.startswith(_VALUE):
            self.fail(f"{what} is not UTF-8")
        self.notes.append(f"{what} is not UTF-8: replaced its invalid bytes with U+FFFD")
        return data.decode(errors="replace")

    def ends(self, surplus: int) -> None:
        if surplus > 0:
            self.notes.append(f"{surplus} bytes after the last tensor are left out")
        elif surplus < 0:
            self.notes.append(f"{-surplus} padding bytes are added after the last tensor")


def _skip_strings(cursor: _Cursor, count: int, key: str) -> None:
    if count > MAX_ARRAY_STRINGS:
        cursor.fail(f"array {key!r} has {count} strings, at most {MAX_ARRAY_STRINGS} are allowed")
    cursor.strings += count
    if cursor.strings > MAX_ARRAY_STRINGS:
        cursor.fail(f"its arrays hold {cursor.strings} strings, at most {MAX_ARRAY_STRINGS} are allowed")
    for _ in range(count):
        length = cursor.number("<Q")
        if length > MAX_STRING_BYTES:
            cursor.fail(f"array {key!r} has a string of {length} bytes, at most {MAX_STRING_BYTES} are allowed")
        cursor.skip(length)


def _array(cursor: _Cursor, key: str) -> GGUFArray:
    kind = cursor.number("<I")
    count = cursor.number("<Q")
    if kind == _ARRAY:
        cursor.fail(f"array {key!r} holds arrays; nested arrays are refused")
    if kind != _STRING and kind not in _SCALARS:
        cursor.fail(f"array {key!r} has the unknown element type {kind}")
    if count > MAX_ARRAY_ELEMENTS:
        cursor.fail(f"array {key!r} has {count} elements, at most {MAX_ARRAY_ELEMENTS} are allowed")
    start = cursor.position
    if kind == _STRING:
        _skip_strings(cursor, count, key)
    else:
        cursor.skip(count * struct.calcsize(_SCALARS[kind]))
    return GGUFArray(element_type=kind, count=count, start=start, end=cursor.position)


def _value(cursor: _Cursor, key: str) -> GGUFValue:
    kind = cursor.number("<I")
    if kind == _ARRAY:
        return _array(cursor, key)
    if kind == _STRING:
        return cursor.string(MAX_STRING_BYTES, f"{_VALUE} {key!r}")
    if kind not in _SCALARS:
        cursor.fail(f"{key!r} has the unknown value type {kind}")
    layout = _SCALARS[kind]
    value: int | float = struct.unpack(layout, cursor.take(struct.calcsize(layout)))[0]
    if kind == _BOOL:
        if value not in (0, 1):
            cursor.fail(f"{key!r} is a boolean of value {value}")
        return bool(value)
    return value


def _metadata(cursor: _Cursor, count: int) -> tuple[dict[str, GGUFValue], dict[str, tuple[int, int]]]:
    found: dict[str, GGUFValue] = {}
    extents: dict[str, tuple[int, int]] = {}
    for _ in range(count):
        start = cursor.position
        key = cursor.string(MAX_KEY_BYTES, "a key")
        if not key:
            cursor.fail("a key is empty")
        if key in found:
            cursor.fail(f"the key {key!r} appears twice")
        found[key] = _value(cursor, key)
        extents[key] = (start, cursor.position)
    return found, extents


def _tensor(cursor: _Cursor, alignment: int) -> GGUFTensor:
    name = cursor.string(MAX_NAME_BYTES, "a tensor name")
    rank = cursor.number("<I")
    if not 1 <= rank <= MAX_DIMENSIONS:
        cursor.fail(f"tensor {name!r} has {rank} dimensions, 1 to {MAX_DIMENSIONS} are allowed")
    dimensions = tuple(cursor.number("<Q") for _ in range(rank))
    number = cursor.number("<I")
    kind = BY_NUMBER.get(number)
    if kind is None:
        cursor.fail(f"tensor {name!r} has the unknown type {number}")
    elements = 1
    for dimension in dimensions:
        if dimension < 1:
            cursor.fail(f"tensor {name!r} has a dimension of {dimension}")
        elements *= dimension
        if elements > _MAX_I64:
            cursor.fail(f"tensor {name!r} has more elements than fit into 63 bits")
    if dimensions[0] % kind.block_elements:
        cursor.fail(
            f"tensor {name!r}: a row of {dimensions[0]} is not a multiple of {kind.block_elements} ({kind.name})"
        )
    size = elements // kind.block_elements * kind.block_bytes
    offset = cursor.number("<Q")
    if offset % alignment:
        cursor.fail(f"tensor {name!r} starts at {offset}, which is not aligned to {alignment}")
    return GGUFTensor(name=name, dimensions=dimensions, type=kind, offset=offset, size=size)


def _alignment(cursor: _Cursor, metadata: Mapping[str, GGUFValue], extents: Mapping[str, tuple[int, int]]) -> int:
    value = metadata.get(_ALIGNMENT, DEFAULT_ALIGNMENT)
    begin, end = extents.get(_ALIGNMENT, (0, _ALIGNMENT_BYTES))
    if end - begin != _ALIGNMENT_BYTES:
        cursor.fail(f"{_ALIGNMENT} is not a 32-bit number, and llama.cpp loads no other")
    if type(value) is not int or not 1 <= value <= MAX_ALIGNMENT or value & (value - 1):
        cursor.fail(f"general.alignment is {value!r}, not a power of two up to {MAX_ALIGNMENT}")
    return value


def padding(position: int, alignment: int) -> int:
    """Return the number of bytes that bring `position` to a multiple of `alignment`."""
    return -position % alignment


def _check_extent(cursor: _Cursor, tensors: tuple[GGUFTensor, ...], alignment: int, available: int) -> None:
    """Tensors must follow one another without gap or overlap and end where the file ends."""
    expected = 0
    for tensor in tensors:
        if tensor.offset < expected:
            cursor.fail(
                f"tensor {tensor.name!r} starts at {tensor.offset} and overlaps the one before, which ends at {expected}"
            )
        if tensor.offset > expected:
            cursor.fail(
                f"tensor {tensor.name!r} starts at {tensor.offset}, expected {expected}: {tensor.offset - expected} bytes hide before it"
            )
        expected = tensor.offset + tensor.size + padding(tensor.size, alignment)
        if expected > _MAX_I64 or tensor.offset + tensor.size > available:
            cursor.fail(
                f"tensor {tensor.name!r} ends {tensor.offset + tensor.size - available} bytes past the end of the file:"
                " it is truncated, or its header lies"
            )
    cursor.ends(available - expected)


def read_gguf(file: BinaryIO, size: int | None, what: str, *, start: int = 0) -> GGUFHeader:
    """Read and check the header of a GGUF file.

    Args:
        file: Seekable binary file.
        size: Size of the GGUF from `start`, header and tensor data, in bytes; None while it is being written:
            the tensors then determine the size.
        what: Name of the file, for messages.
        start: Where the GGUF begins in `file`, in bytes.

    Returns:
        The header; every offset in it has been checked against `size`.

    Raises:
        FormatError: Not GGUF, truncated, over a budget, or tensors that overlap, hide bytes or leave the file.
    """
    return _read(_Cursor(file, start, _MAX_I64 if size is None else size, what), size)


def read_damaged_gguf(file: BinaryIO, size: int, what: str) -> tuple[GGUFHeader, tuple[str, ...]]:
    """Read the header of a GGUF file that llama.cpp accepts and `read_gguf` may refuse.

    Returns:
        The header, and one sentence for each repairable error: text that is not UTF-8, missing padding at the end, or
        extra bytes after the end.

    Raises:
        FormatError: As for `read_gguf`, for errors that cannot be repaired.
    """
    cursor = _TolerantCursor(file, size, what)
    return _read(cursor, size), tuple(cursor.notes)


def _read(cursor: _Cursor, size: int | None) -> GGUFHeader:
    magic = cursor.take(4)
    if magic != MAGIC:
        if magic.startswith(_PICKLES) or magic == b"PK\x03\x04":
            raise FormatError(
                f"{cursor.what}: looks like a pickle checkpoint; those run code when loaded and are refused",
                hints=("use the model's GGUF or safetensors files",),
            )
        cursor.fail(f"it starts with {magic!r}, not {MAGIC!r}")
    version = cursor.number("<I")
    if version not in (2, 3):
        cursor.fail(f"version {version}, expected 2 or 3, little-endian")
    tensor_count, key_count = cursor.number("<Q"), cursor.number("<Q")
    if tensor_count > MAX_TENSORS:
        cursor.fail(f"{tensor_count} tensors, at most {MAX_TENSORS} are allowed")
    if key_count > MAX_KEYS:
        cursor.fail(f"{key_count} keys, at most {MAX_KEYS} are allowed")
    metadata, extents = _metadata(cursor, key_count)
    alignment = _alignment(cursor, metadata, extents)
    tensors = tuple(_tensor(cursor, alignment) for _ in range(tensor_count))
    names = {tensor.name for tensor in tensors}
    if len(names) != len(tensors):
        cursor.fail("a tensor name appears twice")
    data_offset = cursor.position + padding(cursor.position, alignment)
    if not tensors and size == cursor.position:
        data_offset = size
    if size is None:
        last = tensors[-1] if tensors else None
        size = data_offset + (last.offset + last.size + padding(last.size, alignment) if last else 0)
    if data_offset > size:
        cursor.fail(f"the file ends at byte {size} before its tensor data: it is truncated")
    _check_extent(cursor, tensors, alignment, size - data_offset)
    return GGUFHeader(
        version=version,
        alignment=alignment,
        metadata=metadata,
        tensors=tensors,
        data_offset=data_offset,
        size=size,
        extents=extents,
    )
