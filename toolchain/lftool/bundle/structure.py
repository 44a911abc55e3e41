"""Every structural byte of a bundle, as a pure function of the prefix size and each member's path, size and CRC-32.

Writer and reader both call `arrange`. The reader compares the file with the result, so it interprets nothing. Source of
the fields: PKWARE APPNOTE 6.3.10, §4.3.7 local header, §4.3.12 central directory, §4.3.14-16 end records, §4.5.3 ZIP64.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.models.manifest import ALIGNMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX16 = 0xFFFF
_MAX32 = 0xFFFFFFFF
_VERSION = 20
_VERSION_ZIP64 = 45
_UNIX = 3 << 8
_UTF8 = 0x0800
_STORED = 0
_TIME = 0
_DATE = 1 << 5 | 1  # 1980-01-01
_ATTRIBUTES = 0o100644 << 16
_ZIP64_TAG = 1
_EXTRA_HEADER = 4

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")

END_SIZE = _END.size
LOCATOR_SIZE = _LOCATOR.size
END64_SIZE = _END64.size
CENTRAL_SIZE = _CENTRAL.size


@frozen(kw_only=True)
class Entry:
    """A member of the archive; `aligned` is true for large roles."""

    path: str
    size: int
    crc32: int
    aligned: bool


@frozen(kw_only=True)
class Placed:
    """An entry in its place: `gap` zero bytes, then the local header at `header_offset`, then data."""

    entry: Entry
    gap: int
    header: bytes
    header_offset: int

    @property
    def data_offset(self) -> int:
        """Where the member's data begins, in bytes from the start of the file."""
        return self.header_offset + len(self.header)

    @property
    def end(self) -> int:
        """First byte after the member's data."""
        return self.data_offset + self.entry.size


@frozen(kw_only=True)
class Arrangement:
    """A whole archive behind a prefix: where members go, and the bytes of the directory and end records."""

    prefix_size: int
    members: tuple[Placed, ...]
    directory: bytes

    @property
    def directory_offset(self) -> int:
        """Where the central directory begins."""
        return self.members[-1].end if self.members else self.prefix_size

    @property
    def size(self) -> int:
        """Size of the whole file in bytes."""
        return self.directory_offset + len(self.directory)


def local_header(entry: Entry) -> bytes:
    """Return the local file header of `entry`; ZIP64 only when the size needs it."""
    name = entry.path.encode()
    wide = entry.size >= _MAX32
    extra = struct.pack("<HHQQ", _ZIP64_TAG, 16, entry.size, entry.size) if wide else b""
    size = _MAX32 if wide else entry.size
    version = _VERSION_ZIP64 if wide else _VERSION
    fixed = _LOCAL.pack(
        b"PK\3\4", version, _UTF8, _STORED, _TIME, _DATE, entry.crc32, size, size, len(name), len(extra)
    )
    return fixed + name + extra


def _central_record(entry: Entry, offset: int) -> bytes:
    name = entry.path.encode()
    wide, far = entry.size >= _MAX32, offset >= _MAX32
    values = [entry.size, entry.size] * wide + [offset] * far
    extra = struct.pack(f"<HH{len(values)}Q", _ZIP64_TAG, 8 * len(values), *values) if values else b""
    size = _MAX32 if wide else entry.size
    version = _VERSION_ZIP64 if values else _VERSION
    fixed = _CENTRAL.pack(
        b"PK\1\2",
        _UNIX | version,
        version,
        _UTF8,
        _STORED,
        _TIME,
        _DATE,
        entry.crc32,
        size,
        size,
        len(name),
        len(extra),
        0,
        0,
        0,
        _ATTRIBUTES,
        _MAX32 if far else offset,
    )
    return fixed + name + extra


def _end_records(count: int, offset: int, size: int) -> bytes:
    end = _END.pack(b"PK\5\6", 0, 0, min(count, _MAX16), min(count, _MAX16), min(size, _MAX32), min(offset, _MAX32), 0)
    if count < _MAX16 and size < _MAX32 and offset < _MAX32:
        return end
    end64 = _END64.pack(
        b"PK\6\6", _END64.size - 12, _UNIX | _VERSION_ZIP64, _VERSION_ZIP64, 0, 0, count, count, size, offset
    )
    return end64 + _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1) + end


def arrange(prefix_size: int, entries: Sequence[Entry]) -> Arrangement:
    """Place `entries`, in the order given, behind a prefix of `prefix_size` bytes."""
    position = prefix_size
    placed = []
    for entry in entries:
        header = local_header(entry)
        gap = -(position + len(header)) % ALIGNMENT if entry.aligned else 0
        item = Placed(entry=entry, gap=gap, header=header, header_offset=position + gap)
        placed.append(item)
        position = item.end
    central = b"".join(_central_record(item.entry, item.header_offset) for item in placed)
    return Arrangement(
        prefix_size=prefix_size,
        members=tuple(placed),
        directory=central + _end_records(len(placed), position, len(central)),
    )


@frozen(kw_only=True)
class DirectoryEntry:
    """The fields of a central record; regeneration checks the rest of its bytes."""

    path: str
    size: int
    crc32: int
    offset: int


def parse_end(tail: bytes, file_size: int) -> tuple[int, int, int]:
    """Return (directory offset, directory size, member count) from the end of a file.

    Args:
        tail: The last bytes of the file, all of it if shorter than the three end records.
        file_size: Size of the whole file.

    Raises:
        ValueError: An end record is missing.
    """
    if len(tail) < END_SIZE or tail[-END_SIZE:][:4] != b"PK\5\6":
        raise ValueError("no end-of-directory record at the end of the file: truncated, extended, or not a bundle")
    _, _, _, _, count, size, offset, _ = _END.unpack(tail[-END_SIZE:])
    if count == _MAX16 or _MAX32 in (size, offset):
        wide = tail[: -END_SIZE - LOCATOR_SIZE][-END64_SIZE:]
        if len(wide) < END64_SIZE or wide[:4] != b"PK\6\6":
            raise ValueError("no ZIP64 end record where the end record asks for one")
        _, _, _, _, _, _, _, count, size, offset = _END64.unpack(wide)
        records = END64_SIZE + LOCATOR_SIZE + END_SIZE
    else:
        records = END_SIZE
    if offset + size + records != file_size:
        raise ValueError("the directory does not end where the end records begin")
    return offset, size, count


def parse_directory(data: bytes, count: int) -> list[DirectoryEntry]:
    """Return the central records in `data`.

    Raises:
        ValueError: There are not `count` records, or a record does not fit.
    """
    found = []
    position = 0
    for _ in range(count):
        if position + CENTRAL_SIZE > len(data) or data[position : position + 4] != b"PK\1\2":
            raise ValueError("the directory holds fewer records than the end record says")
        fields = _CENTRAL.unpack_from(data, position)
        crc, size, names, extras, offset = fields[7], fields[9], fields[10], fields[11], fields[16]
        start = position + CENTRAL_SIZE
        name, extra = data[start : start + names], data[start + names : start + names + extras]
        try:
            wide = [value for (value,) in struct.iter_unpack("<Q", extra[_EXTRA_HEADER:])]
        except struct.error:
            raise ValueError("a record's extra field does not fit") from None
        if size == _MAX32 and len(wide) > 1:
            size, wide = wide[0], wide[2:]
        if offset == _MAX32 and wide:
            offset = wide[0]
        if not name.isascii():
            raise ValueError("a member path is not ASCII")
        found.append(DirectoryEntry(path=name.decode(), size=size, crc32=crc, offset=offset))
        position = start + names + extras
    if position != len(data):
        raise ValueError("the directory holds more than the end record says")
    return found
