"""Rewrite the header of a GGUF: set and remove keys; tensors and their data stay as they are.

The result is canonical: untouched entries keep their bytes and their order, a key that is set again keeps its place, and
new keys follow, sorted. docs/reference/bundle-format.md calls this `gguf-header/1`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.formats.gguf_read import MAGIC, padding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lftool.formats.gguf_read import GGUFHeader

SEMANTICS = "gguf-header/1"
_PREFIX_BYTES = 24  # magic, version, number of tensors, number of keys
_ARRAY = 9
# Type names as recipes write them, to numbers (ggml's docs/gguf.md, `gguf_metadata_value_type`) and layouts.
TYPES = {
    "u8": (0, "<B"),
    "i8": (1, "<b"),
    "u16": (2, "<H"),
    "i16": (3, "<h"),
    "u32": (4, "<I"),
    "i32": (5, "<i"),
    "f32": (6, "<f"),
    "bool": (7, "<B"),
    "string": (8, ""),
    "u64": (10, "<Q"),
    "i64": (11, "<q"),
    "f64": (12, "<d"),
}
_NAMES = {number: name for name, (number, _) in TYPES.items()}

EditValue = bool | int | float | str | tuple[bool, ...] | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@frozen(kw_only=True)
class KeyEdit:
    """A key to set: its type, such as `u32`, or `[string]` for an array of strings, and its value."""

    key: str
    type: str
    value: EditValue


def _scalar(name: str, value: bool | float | str) -> bytes:  # noqa: FBT001 - a value of GGUF
    if name == "string":
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a string")
        data = value.encode()
        return struct.pack("<Q", len(data)) + data
    layout = TYPES[name][1]
    wanted: type | tuple[type, ...] = bool if name == "bool" else (int, float) if name.startswith("f") else int
    if not isinstance(value, wanted) or (name != "bool" and isinstance(value, bool)):
        raise ValueError(f"{value!r} is not of type {name}")
    try:
        return struct.pack(layout, value)
    except (struct.error, OverflowError):
        raise ValueError(f"{value!r} does not fit into {name}") from None


def entry(edit: KeyEdit) -> bytes:
    """Return the bytes of a key and its value.

    Raises:
        ValueError: The value is not of the type.
    """
    key = edit.key.encode()
    head = struct.pack("<Q", len(key)) + key
    if not edit.type.startswith("["):
        if isinstance(edit.value, tuple):
            raise ValueError(f"an array is not of type {edit.type}")
        return head + struct.pack("<I", TYPES[edit.type][0]) + _scalar(edit.type, edit.value)
    inner = edit.type.strip("[]")
    if not isinstance(edit.value, tuple):
        raise ValueError(f"{edit.value!r} is not an array")  # noqa: TRY004 - one error kind for callers
    items = b"".join(_scalar(inner, item) for item in edit.value)
    return head + struct.pack("<IIQ", _ARRAY, TYPES[inner][0], len(edit.value)) + items


def type_of_entry(data: bytes) -> str:
    """Return the type of a key's value from the bytes of its entry."""
    (length,) = struct.unpack_from("<Q", data)
    (kind,) = struct.unpack_from("<I", data, 8 + length)
    if kind != _ARRAY:
        return _NAMES[kind]
    (inner,) = struct.unpack_from("<I", data, 12 + length)
    return f"[{_NAMES[inner]}]"


def edited_header(
    header: GGUFHeader, read: Callable[[int, int], bytes], edits: Sequence[KeyEdit], removed: Sequence[str]
) -> bytes:
    """Return the header of a GGUF with other keys, up to its tensor data.

    Args:
        header: The header as it is.
        read: Returns bytes of the file: from where, how many.
        edits: Keys to set.
        removed: Keys to remove.

    Raises:
        ValueError: A key that is there has another type, a value is not of its type, or a key to remove is not there.
    """
    missing = [key for key in removed if key not in header.extents]
    if missing:
        raise ValueError(f"{missing[0]}: the weights have no such key to remove")
    fresh: dict[str, bytes] = {}
    for edit in edits:
        try:
            fresh[edit.key] = entry(edit)
        except ValueError as error:
            raise ValueError(f"{edit.key}: {error}") from None
    entries = []
    for key, (start, end) in header.extents.items():
        if key in removed:
            continue
        data = read(start, end - start)
        if key in fresh:
            has, wanted = type_of_entry(data), next(edit.type for edit in edits if edit.key == key)
            if has != wanted:
                raise ValueError(f"{key}: it is {has} in the weights, not {wanted}")
            data = fresh.pop(key)
        entries.append(data)
    entries += [fresh[key] for key in sorted(fresh)]
    place = max((end for _, end in header.extents.values()), default=_PREFIX_BYTES)
    infos = read(place, _info_bytes(header))
    made = MAGIC + struct.pack("<IQQ", header.version, len(header.tensors), len(entries)) + b"".join(entries) + infos
    return made + bytes(padding(len(made), header.alignment))


def _info_bytes(header: GGUFHeader) -> int:
    """Return how many bytes the descriptions of the tensors take."""
    return sum(8 + len(item.name.encode()) + 4 + 8 * len(item.dimensions) + 4 + 8 for item in header.tensors)


def plain_edits(edits: Sequence[KeyEdit], removed: Sequence[str], texts: Mapping[str, str]) -> dict[str, object]:
    """Return edits as plain data for a digest; long texts by the digests that `texts` gives, by key."""
    values = [
        [edit.key, edit.type, {"sha256": texts[edit.key]} if edit.key in texts else _plain(edit)] for edit in edits
    ]
    return {"set": sorted(values, key=lambda item: str(item[0])), "remove": sorted(removed)}


def _plain(edit: KeyEdit) -> object:
    """Return a value as the hex of its bytes: no float enters canonical JSON."""
    return entry(edit)[8 + len(edit.key.encode()) :].hex()
