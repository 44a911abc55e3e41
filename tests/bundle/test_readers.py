"""Ordinary ZIP readers list and test bundles, whatever the size of the prefix."""

from __future__ import annotations

import os
import subprocess
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest

from lftool.bundle.structure import Entry, arrange

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS = {
    "model.gguf": bytes(range(256)) * 40,
    "draft.gguf": b"draft",
    "lftool/runner.py": b"print('hello')\n",
    "lftool/empty": b"",
    "lftool/bundle.json": b"{}",
}
LARGE = {"model.gguf", "draft.gguf"}
PREFIXES = [100, 2_000_000, 13_000_000, 2**32 + 12_345]
SEVEN_ZIP_LIMIT = 8 * 1024 * 1024


def sparse_bundle(path: Path, prefix_size: int) -> Path:
    """Write the structure behind a prefix of zeros that takes no room on the disk."""
    made = arrange(
        prefix_size,
        [
            Entry(path=name, size=len(data), crc32=zlib.crc32(data), aligned=name in LARGE)
            for name, data in CONTENTS.items()
        ],
    )
    with path.open("wb") as file:
        os.truncate(file.fileno(), made.size)
        for item in made.members:
            os.pwrite(file.fileno(), item.header + CONTENTS[item.entry.path], item.header_offset)
        os.pwrite(file.fileno(), made.directory, made.directory_offset)
    return path


@pytest.fixture(scope="module", params=PREFIXES)
def sparse(request, tmp_path_factory) -> Path:
    """A structure behind a prefix, from 100 bytes to over 4 GiB."""
    return sparse_bundle(tmp_path_factory.mktemp("sparse") / "bundle", request.param)


@pytest.fixture(params=["tiny-1-plain.gguf", "tiny-1-start.llamafile"])
def real(request, release) -> Path:
    """A bundle that `lftool build` made."""
    return release.root / "dist" / request.param


def ran(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as file:
        return file.namelist()


def test_python_lists_and_tests_it(sparse):
    with zipfile.ZipFile(sparse) as file:
        assert file.namelist() == list(CONTENTS)
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == CONTENTS


def test_unzip_tests_it(sparse, require_tool):
    done = ran(require_tool("unzip", "unzip"), "-t", sparse)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines()[1:] == [
        *(f"    testing: {name:<22}   OK" for name in CONTENTS),
        f"No errors detected in compressed data of {sparse}.",
    ]


def test_bsdtar_lists_it(sparse, require_tool):
    done = ran(require_tool("bsdtar", "libarchive-tools"), "-tvf", sparse)

    assert (done.returncode, done.stderr) == (0, b"")
    listed = [line.split() for line in done.stdout.decode().splitlines()]
    assert {fields[-1]: (fields[0], int(fields[4])) for fields in listed} == {
        name: ("-rw-r--r--", len(data)) for name, data in CONTENTS.items()
    }


@pytest.mark.parametrize("name", CONTENTS)
def test_bsdtar_extracts_it(sparse, name, require_tool):
    done = ran(require_tool("bsdtar", "libarchive-tools"), "-xOf", sparse, name)

    assert (done.returncode, done.stderr, done.stdout) == (0, b"", CONTENTS[name])


@pytest.mark.parametrize("prefix_size", [size for size in PREFIXES if size < SEVEN_ZIP_LIMIT])
def test_7z_tests_it_behind_a_prefix_under_8_mib(prefix_size, tmp_path, require_tool):
    done = ran(require_tool("7z", "p7zip-full"), "t", sparse_bundle(tmp_path / "bundle", prefix_size))

    assert (done.returncode, b"Everything is Ok" in done.stdout, done.stderr) == (0, True, b"")


def test_readers_check_the_crcs_that_we_write(tmp_path, require_tool):
    """Without this the tests above could pass on structures whose CRCs nobody looks at."""
    path = sparse_bundle(tmp_path / "bundle", 100)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"print('hello')", b"print('hullo')"))

    with zipfile.ZipFile(path) as file:
        assert file.testzip() == "lftool/runner.py"
    assert ran(require_tool("unzip", "unzip"), "-t", path).returncode == 2


def test_python_tests_a_real_bundle(real):
    with zipfile.ZipFile(real) as file:
        assert file.testzip() is None
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
        assert {(info.date_time, info.external_attr, info.create_system) for info in file.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), 0o100644 << 16, 3)
        }
        assert (file.comment, {info.extra for info in file.infolist()}) == (b"", {b""})


def test_unzip_tests_a_real_bundle(real, require_tool):
    done = ran(require_tool("unzip", "unzip"), "-t", real)

    assert (done.returncode, done.stderr) == (0, b"")


def test_bsdtar_lists_and_extracts_a_real_bundle(real, require_tool):
    bsdtar = require_tool("bsdtar", "libarchive-tools")
    done = ran(bsdtar, "-tf", real)

    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(done.stdout.decode().split()) == sorted(names_in(real))
    with zipfile.ZipFile(real) as file:
        for name in names_in(real):
            assert ran(bsdtar, "-xOf", real, name).stdout == file.read(name)


def test_7z_tests_a_real_bundle(real, require_tool):
    done = ran(require_tool("7z", "p7zip-full"), "t", real)

    assert (done.returncode, b"Everything is Ok" in done.stdout, done.stderr) == (0, True, b"")
