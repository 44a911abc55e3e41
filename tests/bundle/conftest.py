"""Bundles to read and to break, and code of its own for the archive's bytes: nothing here asks the product for them."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from attrs import Factory, define

from lftool.bundle.reader import read_bundle
from lftool.formats.gguf_write import TensorData, write_gguf
from lftool.ops.bundles.trust import policy_of_keys
from lftool.ops.bundles.verify import VerifyOptions, verify_opened
from lftool.testing import ProjectFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    path: bytes,
    size: int,
    crc32: int,
    offset: int,
    *,
    extra: bytes | None = None,
    note: bytes = b"",
    **other: int | bytes,
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
    values = (
        b"PK\5\6",
        0,
        0,
        min(count, FULL16),
        min(count, FULL16),
        min(size, FULL32),
        min(offset, FULL32),
        len(note),
    )
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
        """Take a bundle below 4 GiB apart; its manifest says where the prefix ends."""
        count, _, at = struct.unpack("<HII", data[-12:-2])
        found = {}
        for _ in range(count):
            size, names = struct.unpack_from("<IH", data, at + 24)
            path, header = data[at + 46 : at + 46 + names], struct.unpack_from("<I", data, at + 42)[0]
            found[path] = (header, header + 30 + names, size)
            at += 46 + names
        _, start, size = found[b"lftool/bundle.json"]
        prefix = position = json.loads(data[start : start + size])["prefix"]["size"]
        parts = []
        for path, (header, start, size) in found.items():
            parts.append(Part(path=path, data=data[start : start + size], gap=data[position:header]))
            position = start + size
        return cls(prefix=data[:prefix], parts=parts)

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

    def written(self) -> bytes:
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
        return b"".join(pieces) + directory + end_records(**(end | self.end))

    def manifest(self, change: Callable[[dict], object]) -> None:
        """Change what the manifest says; it stays canonical JSON."""
        part = self.part("lftool/bundle.json")
        value = json.loads(part.data)
        change(value)
        part.data = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def describe(self, path: str) -> None:
        """Let the manifest name the content that the member at `path` has now."""
        data = self.part(path).data
        named = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "crc32": f"{zlib.crc32(data):08x}"}
        self.manifest(lambda value: next(m for m in value["members"] if m["path"] == path).update(named))

    def describe_prefix(self) -> None:
        """Let manifest and chunk table name the prefix as it is now (smaller than a chunk)."""
        digest = hashlib.sha256(self.prefix)
        named = {"size": len(self.prefix), "sha256": digest.hexdigest(), "crc32": f"{zlib.crc32(self.prefix):08x}"}
        self.manifest(lambda value: value["prefix"].update(named))
        self.part("lftool/chunks").data = digest.digest() + self.part("lftool/chunks").data[32:]
        self.describe("lftool/chunks")


def small_gguf(path: Path) -> None:
    """Write a GGUF of two tensors, 2.3 KB."""
    values = struct.pack("<1024e", *(((index * 37) % 97 - 48) / 64 for index in range(1024)))
    tensors = [
        TensorData(name="token_embd.weight", dimensions=(32, 32), type="F16", data=values),
        TensorData(name="output_norm.weight", dimensions=(32,), type="F32", data=struct.pack("<32f", *[1.0] * 32)),
    ]
    with path.open("wb") as file:
        write_gguf(file, {"general.architecture": "llama", "llama.block_count": 0}, tensors)


@pytest.fixture(scope="session")
def spec() -> SimpleNamespace:
    """The archive's records, written from the specification."""
    return SimpleNamespace(local_header=local_header, central_record=central_record, end_records=end_records)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> ProjectFolder:
    """A built project of two targets, `plain` (layout gguf) and `start` (layout llamafile), signed; never change it."""
    base = tmp_path_factory.mktemp("release")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    made.home.mkdir()
    small_gguf(made.root / "model.gguf")
    made.write_recipe(RECIPE)
    made.run("keygen", "-o", "release").assert_success()
    made.run("keygen", "-o", "other").assert_success()
    made.run("lock").assert_success()
    made.run("build").assert_success()
    return made


@pytest.fixture(scope="session")
def plain(release: ProjectFolder) -> bytes:
    """A signed bundle of layout gguf."""
    return (release.root / "dist" / "tiny-1-plain.gguf").read_bytes()


@pytest.fixture(scope="session")
def start(release: ProjectFolder) -> bytes:
    """A signed bundle of layout llamafile."""
    return (release.root / "dist" / "tiny-1-start.llamafile").read_bytes()


@pytest.fixture
def archive(plain: bytes) -> Archive:
    """The bundle of layout gguf, taken apart."""
    return Archive.of(plain)


@pytest.fixture
def start_archive(start: bytes) -> Archive:
    """The bundle of layout llamafile, taken apart."""
    return Archive.of(start)


@pytest.fixture
def part() -> type[Part]:
    """The type of an archive's member."""
    return Part


@pytest.fixture
def verify(release: ProjectFolder, tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Run `lftool verify bad.gguf --key release.pub` on some bytes."""

    def run(data: bytes, *options: str, key: str = "release.pub") -> SimpleNamespace:
        path = tmp_path / "bad.gguf"
        path.write_bytes(data)
        arguments = ("--key", release.root / key) if key else ()
        return release.run("verify", path, *arguments, *options)

    return run


class Patient:
    """A bundle in memory whose bytes a test changes in place, verified without starting a process."""

    def __init__(self, descriptor: int, data: bytes, policy: object) -> None:
        self.descriptor = descriptor
        self.data = data
        self._options = VerifyOptions(policy=policy, threads=1)
        self.restore()

    def restore(self) -> None:
        """Undo every change."""
        self.write(self.data)

    def write(self, data: bytes) -> None:
        """Replace the whole content."""
        os.ftruncate(self.descriptor, len(data))
        os.pwrite(self.descriptor, data, 0)

    def verify(self) -> None:
        """Verify as `lftool verify --key` does."""
        verify_opened(read_bundle(self.descriptor, "tiny.gguf"), Path("tiny.gguf"), self._options, DAY)

    def change(self, position: int, mask: int) -> object:
        """Verify with one byte changed; return the error that refuses it, or None."""
        os.pwrite(self.descriptor, bytes([self.data[position] ^ mask]), position)
        try:
            self.verify()
        except Exception as error:  # noqa: BLE001 - the test looks at its type
            return error
        finally:
            os.pwrite(self.descriptor, self.data[position : position + 1], position)
        return None


@pytest.fixture
def patient(release: ProjectFolder, tmp_path: Path) -> Iterator[Callable[[bytes], Patient]]:
    """Put a bundle where its bytes can be changed in place."""
    policy = policy_of_keys([release.root / "release.pub"])
    with contextlib.ExitStack() as stack:

        def admit(data: bytes) -> Patient:
            file = stack.enter_context((tmp_path / "patient").open("w+b", buffering=0))
            return Patient(file.fileno(), data, policy)

        yield admit


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str, str], str]:
    """Return the path of a program, or skip and say which Debian package has it."""

    def find(name: str, package: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed; it is in the Debian package {package}")
        return path

    return find
