"""Bundles to read and to break, and code of its own for the archive's bytes: nothing here asks the product for them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from attrs import Factory, define

from lftool.formats.gguf_write import TensorData, write_gguf
from lftool.ops.trusting import policy_of_key
from lftool.ops.verifying import VerifyOptions, verify_descriptor
from lftool.testing import ProjectFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.plain]
layout = "gguf"

[targets.start]
layout = "llamafile"

[sign]
key = "file:release.key"
"""

FULL32 = 2**32 - 1
FULL16 = 2**16 - 1
DAY = dt.date(2026, 6, 1)

LOCAL_FIELDS = ("signature", "version", "flags", "method", "time", "date", "crc32", "compressed", "size")
CENTRAL_FIELDS = ("signature", "made_by", *LOCAL_FIELDS[1:])
CENTRAL_TAIL = ("comment", "disk", "internal", "external", "offset")
END_FIELDS = ("signature", "disk", "directory_disk", "here", "count", "size", "offset", "comment")


def local_header(path: bytes, size: int, crc32: int, *, extra: bytes | None = None, **other: int | bytes) -> bytes:
    """APPNOTE 4.3.7 and 4.5.3, as docs/reference/bundle-format.md fills them in; `other` replaces fields."""
    wide = size >= FULL32
    if extra is None:
        extra = struct.pack("<HHQQ", 1, 16, size, size) if wide else b""
    short = min(size, FULL32)
    values = (b"PK\3\4", 45 if wide else 20, 0x0800, 0, 0, 0x0021, crc32, short, short)
    fields = dict(zip(LOCAL_FIELDS, values, strict=True)) | other
    lengths = struct.pack("<HH", len(path), len(extra))
    return struct.pack("<4s5H3I", *(fields[name] for name in LOCAL_FIELDS)) + lengths + path + extra


def central_record(
    path: bytes, size: int, crc32: int, offset: int, *, extra: bytes | None = None, note: bytes = b"", **other: int | bytes
) -> bytes:
    """APPNOTE 4.3.12, likewise."""
    numbers = ([size, size] if size >= FULL32 else []) + ([offset] if offset >= FULL32 else [])
    if extra is None:
        extra = struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
    version, short = 45 if numbers else 20, min(size, FULL32)
    values = (b"PK\1\2", 0x0300 + version, version, 0x0800, 0, 0, 0x0021, crc32, short, short)
    fields = dict(zip(CENTRAL_FIELDS, values, strict=True))
    fields |= dict(zip(CENTRAL_TAIL, (len(note), 0, 0, 0x81A40000, min(offset, FULL32)), strict=True))
    fields |= other
    lengths = struct.pack("<HH", len(path), len(extra))
    head = struct.pack("<4s6H3I", *(fields[name] for name in CENTRAL_FIELDS))
    return head + lengths + struct.pack("<HHHII", *(fields[name] for name in CENTRAL_TAIL)) + path + extra + note


def end_records(count: int, size: int, offset: int, *, note: bytes = b"", wide: bool | None = None, **other) -> bytes:
    """APPNOTE 4.3.14 to 4.3.16, likewise; `wide` forces or forbids the ZIP64 ones."""
    values = (b"PK\5\6", 0, 0, min(count, FULL16), min(count, FULL16), min(size, FULL32), min(offset, FULL32), len(note))
    fields = dict(zip(END_FIELDS, values, strict=True)) | other
    end = struct.pack("<4s4HIIH", *(fields[name] for name in END_FIELDS)) + note
    if wide is None:
        wide = count >= FULL16 or size >= FULL32 or offset >= FULL32
    if not wide:
        return end
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 0x032D, 45, 0, 0, count, count, size, offset)
    return end64 + struct.pack("<4sIQI", b"PK\6\7", 0, offset + size, 1) + end


@define
class Part:
    """A member of an archive; what differs from the canonical header stands in `local` and `central`."""

    path: bytes
    data: bytes
    gap: bytes = b""
    listed: bool = True
    local: dict = Factory(dict)
    central: dict = Factory(dict)


@define
class Archive:
    """An archive in pieces, to be changed and written again."""

    prefix: bytes
    parts: list[Part]
    end: dict = Factory(dict)
    order: Callable[[list[bytes]], list[bytes]] = list

    @classmethod
    def of(cls, data: bytes) -> Archive:
        """Take a bundle below 4 GiB apart."""
        count, _, at = struct.unpack("<HII", data[-12:-2])
        parts: list[Part] = []
        position = 0
        for _ in range(count):
            size, names = struct.unpack_from("<IH", data, at + 24)
            header = struct.unpack_from("<I", data, at + 42)[0]
            path = data[at + 46 : at + 46 + names]
            if not parts:
                position = header - len(data[:header]) + len(data[:header].rstrip(b"\0"))
            start = header + 30 + names
            parts.append(Part(path=path, data=data[start : start + size], gap=data[position:header]))
            position = start + size
            at += 46 + names
        prefix_end = data.find(b"PK\3\4" + data[at:at]) if not parts else None
        made = cls(prefix=b"" if prefix_end is None else data[:prefix_end], parts=parts)
        made.prefix = data[: len(data) - len(made.bytes()) + len(made.prefix)]
        return made

    def part(self, path: str) -> Part:
        """Return the member at `path`."""
        return next(part for part in self.parts if part.path == path.encode())

    @property
    def signature(self) -> Part:
        """Return the first signature member."""
        return next(part for part in self.parts if part.path.startswith(b"lftool/sig/"))

    def align(self, path: str) -> None:
        """Give a member the gap that 64 KiB alignment asks for."""
        position = len(self.prefix)
        for part in self.parts:
            header = len(local_header(part.path, len(part.data), 0))
            if part.path == path.encode():
                part.gap = bytes(-(position + header) % 65536)
                return
            position += len(part.gap) + header + len(part.data)

    def bytes(self) -> bytes:
        """Write it."""
        pieces, records = [self.prefix], []
        position = len(self.prefix)
        for part in self.parts:
            crc = zlib.crc32(part.data)
            offset = position + len(part.gap)
            header = local_header(part.path, len(part.data), crc, **part.local)
            pieces += [part.gap, header, part.data]
            position = offset + len(header) + len(part.data)
            if part.listed:
                central = {"path": part.path, "size": len(part.data), "crc32": crc, "offset": offset, **part.central}
                records.append(central_record(**central))
        records = self.order(records)
        directory = b"".join(records)
        end = {"count": len(records), "size": len(directory), "offset": position}
        end |= {key: value for key, value in self.end.items() if key not in ("raw",)}
        return b"".join(pieces) + directory + end_records(**end) + self.end.get("raw", b"")
