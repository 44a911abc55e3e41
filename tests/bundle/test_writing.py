"""Writing a bundle: same bytes every time, by whatever way the contents are copied, and never from a corrupted blob."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import struct
import tempfile
from pathlib import Path

import pytest

from lftool.bundle import copying
from lftool.bundle.copying import copy_blob
from lftool.errors import StorageError
from lftool.models.digest import Artifact
from lftool.store.cas import CorruptBlobError
from lftool.store.hashing import hash_bytes
from lftool.testing import ProjectFolder

CHUNK = 4 * 1024 * 1024
LENGTHS = [1, 65536, CHUNK - 1, CHUNK, CHUNK + 1]


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def copied(tmp_path: Path, data: bytes, offset: int = 4096) -> tuple[bytes, str]:
    """Copy a blob; return what the destination holds behind `offset`, and the digest that ran along."""
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    made = hash_bytes(data)
    running = hashlib.sha256()
    with (tmp_path / "out").open("w+b") as out:
        copy_blob(blob, made.artifact, made.facts, out.fileno(), offset, running)
        return os.pread(out.fileno(), len(data) + 1, offset), running.hexdigest()


def refusing(number: int):
    def refuse(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("size", LENGTHS)
def test_a_blob_is_copied_and_hashed(tmp_path, size):
    data = content(size)
    assert copied(tmp_path, data) == (data, hashlib.sha256(data).hexdigest())


def test_a_blob_is_copied_where_no_extents_can_be_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(copying.fcntl, "ioctl", refusing(errno.EOPNOTSUPP))
    data = content(100_000)
    assert copied(tmp_path, data) == (data, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("size", LENGTHS)
def test_a_blob_is_copied_through_memory_where_the_kernel_cannot(tmp_path, monkeypatch, number, size):
    monkeypatch.setattr(copying.fcntl, "ioctl", refusing(errno.EXDEV))
    monkeypatch.setattr(copying.os, "copy_file_range", refusing(number))
    data = content(size)
    assert copied(tmp_path, data) == (data, hashlib.sha256(data).hexdigest())


def test_a_kernel_that_gives_up_in_the_middle_is_taken_over_from(tmp_path, monkeypatch):
    real = os.copy_file_range

    def once(source: int, destination: int, count: int, at: int, to: int) -> int:
        if at:
            raise OSError(errno.EXDEV, "")
        return real(source, destination, min(count, 1000), at, to)

    monkeypatch.setattr(copying.fcntl, "ioctl", refusing(errno.EXDEV))
    monkeypatch.setattr(copying.os, "copy_file_range", once)
    data = content(100_000)
    assert copied(tmp_path, data) == (data, hashlib.sha256(data).hexdigest())


def test_short_copies_add_up(tmp_path, monkeypatch):
    real = os.copy_file_range
    monkeypatch.setattr(copying.fcntl, "ioctl", refusing(errno.EXDEV))
    monkeypatch.setattr(copying.os, "copy_file_range", lambda a, b, count, at, to: real(a, b, min(count, 999), at, to))
    data = content(10_000)
    assert copied(tmp_path, data) == (data, hashlib.sha256(data).hexdigest())


def test_a_file_system_that_shares_extents_copies_nothing(tmp_path, monkeypatch):
    """The request of include/uapi/linux/fs.h, answered by a file system that copies instead."""

    def share(destination: int, request: int, argument: bytes) -> int:
        assert request == 0x4020940D
        source, start, length, offset = struct.unpack("=qQQQ", argument)
        return os.pwrite(destination, os.pread(source, length, start), offset) * 0

    monkeypatch.setattr(copying.fcntl, "ioctl", share)
    monkeypatch.setattr(copying.os, "copy_file_range", refusing(errno.EIO))
    data = content(10_000)
    assert copied(tmp_path, data) == (data, hashlib.sha256(data).hexdigest())


def test_short_reads_add_up(tmp_path, monkeypatch):
    real = os.preadv
    monkeypatch.setattr(copying.os, "preadv", lambda file, views, at: real(file, [views[0][:999]], at))
    data = content(10_000)
    assert copied(tmp_path, data) == (data, hashlib.sha256(data).hexdigest())


@pytest.fixture
def through_memory(monkeypatch):
    """A kernel that copies nothing by itself."""
    monkeypatch.setattr(copying.fcntl, "ioctl", refusing(errno.EXDEV))
    monkeypatch.setattr(copying.os, "copy_file_range", refusing(errno.EXDEV))


def test_short_writes_add_up(tmp_path, monkeypatch, through_memory):
    real = os.pwrite
    monkeypatch.setattr(copying.os, "pwrite", lambda to, piece, at: real(to, piece[:999], at))
    data = content(10_000)
    assert copied(tmp_path, data) == (data, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("number", [errno.EXDEV, 0])
def test_no_more_is_copied_than_the_blob_has(tmp_path, monkeypatch, number):
    """A file in the store that grew: what was added is not in the bundle, by whatever way it is copied."""
    real = os.copy_file_range
    short = lambda a, b, count, at, to: real(a, b, min(count, CHUNK), at, to)  # noqa: E731 - as the kernel's
    monkeypatch.setattr(copying.fcntl, "ioctl", refusing(errno.EXDEV))
    monkeypatch.setattr(copying.os, "copy_file_range", refusing(number) if number else short)
    data = content(CHUNK + 10)
    made = hash_bytes(data)
    (tmp_path / "blob").write_bytes(data + b"more")
    with (tmp_path / "out").open("w+b") as out:
        copy_blob(tmp_path / "blob", made.artifact, made.facts, out.fileno(), 0, hashlib.sha256())
    assert (tmp_path / "out").read_bytes() == data


def test_a_blob_that_became_shorter_while_it_was_copied_through_memory(tmp_path, monkeypatch, through_memory):
    monkeypatch.setattr(copying.os, "pread", lambda *_arguments: b"")
    with pytest.raises(StorageError, match=r"^a file became shorter while it was copied$"):
        copied(tmp_path, content(1000))


def test_a_full_disk_is_not_taken_for_a_kernel_that_cannot(tmp_path, monkeypatch):
    monkeypatch.setattr(copying.fcntl, "ioctl", refusing(errno.EXDEV))
    monkeypatch.setattr(copying.os, "copy_file_range", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left on device"):
        copied(tmp_path, content(1000))


def test_a_blob_that_became_shorter_while_it_was_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(copying.fcntl, "ioctl", refusing(errno.EXDEV))
    monkeypatch.setattr(copying.os, "copy_file_range", lambda *_arguments: 0)
    with pytest.raises(StorageError, match=r"^a file became shorter while it was copied$"):
        copied(tmp_path, content(1000))


@pytest.mark.parametrize("position", [0, CHUNK - 1, CHUNK, CHUNK + 9])
def test_a_blob_that_changed_since_its_facts_were_noted(tmp_path, position):
    data = content(CHUNK + 10)
    made = hash_bytes(data)
    blob = tmp_path / "blob"
    blob.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    begin, end = (0, CHUNK) if position < CHUNK else (CHUNK, CHUNK + 10)

    with (tmp_path / "out").open("w+b") as out, pytest.raises(CorruptBlobError) as caught:
        copy_blob(blob, made.artifact, made.facts, out.fileno(), 0, hashlib.sha256())

    assert (caught.value.message, caught.value.artifact, caught.value.exit_status) == (
        f"the cached blob {made.artifact.sha256} was corrupted: bytes {begin} to {end} have changed",
        made.artifact,
        4,
    )


@pytest.mark.parametrize("position", [0, CHUNK + 9])
def test_a_blob_that_a_bundle_begins_with_and_that_changed(tmp_path, position):
    """Its own digest runs along: the CRC-32 shows an accident, the digest anything."""
    data = content(CHUNK + 10)
    made = hash_bytes(data)
    changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
    blob = tmp_path / "blob"
    blob.write_bytes(changed)
    facts = hash_bytes(changed).facts  # as if the CRC-32 were the same
    for given, why in ((made.facts, "its CRC-32 has changed"), (facts, "it has changed")):
        with (tmp_path / "out").open("w+b") as out, pytest.raises(CorruptBlobError) as caught:
            copy_blob(blob, made.artifact, given, out.fileno(), 0, hashlib.sha256(), first=True)
        assert caught.value.message == f"the cached blob {made.artifact.sha256} was corrupted: {why}"


def test_a_blob_that_a_bundle_begins_with_is_copied_and_hashed(tmp_path):
    data = content(CHUNK + 10)
    (tmp_path / "blob").write_bytes(data)
    made, running = hash_bytes(data), hashlib.sha256()
    with (tmp_path / "out").open("w+b") as out:
        copy_blob(tmp_path / "blob", made.artifact, made.facts, out.fileno(), 0, running, first=True)
    assert ((tmp_path / "out").read_bytes(), running.hexdigest()) == (data, made.artifact.sha256.hex)


def test_a_blob_that_was_cut_since_its_facts_were_noted(tmp_path):
    data = content(1000)
    made = hash_bytes(data)
    blob = tmp_path / "blob"
    blob.write_bytes(data[:999])

    with (tmp_path / "out").open("w+b") as out, pytest.raises((CorruptBlobError, StorageError)) as caught:
        copy_blob(blob, made.artifact, made.facts, out.fileno(), 0, hashlib.sha256())

    assert caught.value.message == f"the cached blob {made.artifact.sha256} was corrupted: ends early"


def test_facts_with_a_wrong_crc(tmp_path):
    data = content(1000)
    made = hash_bytes(data)
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    wrong = type(made.facts)(crc32=made.facts.crc32 ^ 1, chunks=made.facts.chunks)

    with (tmp_path / "out").open("w+b") as out, pytest.raises(CorruptBlobError) as caught:
        copy_blob(blob, made.artifact, wrong, out.fileno(), 0, hashlib.sha256())

    assert caught.value.message == f"the cached blob {made.artifact.sha256} was corrupted: its CRC-32 has changed"


# --- whole bundles


def built(folder: Path, source: ProjectFolder, *, home: Path | None = None) -> dict[str, str]:
    """Build a copy of a project with an empty cache; return file name to sha256."""
    made = ProjectFolder(root=folder / "project", home=home or folder / "home")
    made.root.mkdir(parents=True)
    made.home.mkdir(parents=True, exist_ok=True)
    for path in source.root.iterdir():
        if path.is_file():
            shutil.copy2(path, made.root)
    made.run("build", "--locked").assert_success()
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((made.root / "dist").iterdir())}


def test_two_builds_with_empty_caches_give_the_same_bytes(release, tmp_path, plain, start):
    first, second = built(tmp_path / "one", release), built(tmp_path / "two" / "deeper", release)

    assert first == second
    assert first == {
        "tiny-1-plain.gguf": hashlib.sha256(plain).hexdigest(),
        "tiny-1-start.llamafile": hashlib.sha256(start).hexdigest(),
    }


def test_a_cache_on_another_file_system_gives_the_same_bytes(release, tmp_path, plain, start):
    """Where the machine has a second file system for a cache; where not, this is one more build."""
    shared = Path("/dev/shm")
    usable = shared.is_dir() and os.access(shared, os.W_OK) and shared.stat().st_dev != tmp_path.stat().st_dev
    with tempfile.TemporaryDirectory(dir=shared if usable else tmp_path) as home:
        found = built(tmp_path / "far", release, home=Path(home))

    assert found == {
        "tiny-1-plain.gguf": hashlib.sha256(plain).hexdigest(),
        "tiny-1-start.llamafile": hashlib.sha256(start).hexdigest(),
    }


def test_the_example_has_the_same_sha256_on_every_build(tmp_path, repository):
    """Its `f16` target from the GGUF that its conversion makes; all of it is rebuilt in tests/reproducibility."""
    example = repository / "examples" / "tiny-story"
    found = []
    for name in ("one", "two"):
        made = ProjectFolder(root=tmp_path / name / "project", home=tmp_path / name / "home")
        made.root.mkdir(parents=True)
        made.home.mkdir()
        shutil.copy2(example / "tiny-story-f16.gguf", made.root)
        shutil.copy2(example / "held-out.txt", made.root)
        recipe = re.sub("intermediate.*\n", "", (example / "lftool.toml").read_text())
        made.write_recipe(recipe.replace('"file:tiny-story"', '"file:tiny-story-f16.gguf"'))
        made.run("lock").assert_success()
        made.run("build", "--no-sign", "f16").assert_success()
        (bundle,) = (made.root / "dist").iterdir()
        found.append((bundle.name, hashlib.sha256(bundle.read_bytes()).hexdigest()))

    assert found[0] == found[1]


def test_a_blob_that_is_corrupted_between_two_builds_is_made_again(release, tmp_path, plain):
    made = ProjectFolder(root=tmp_path / "project", home=tmp_path / "home")
    shutil.copytree(release.root, made.root)
    shutil.copytree(release.home, made.home)
    shutil.rmtree(made.root / "dist")
    name = Artifact.of((made.root / "model.gguf").read_bytes()).sha256.hex
    blob = made.cache / "cas-v1" / name[:2] / name[2:]
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)
    blob.chmod(0o444)

    made.run("build", "--locked").assert_success()

    assert (made.root / "dist" / "tiny-1-plain.gguf").read_bytes() == plain
