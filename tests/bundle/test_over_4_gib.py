"""A bundle whose small members lie beyond 4 GiB starts by itself; the zeros in it take no room on the disk."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lftool.builtin.python_runtime import PythonRuntime
from lftool.bundle.bundle_files import opened
from lftool.bundle.reader import manifest_entries
from lftool.bundle.structure import arrange
from lftool.codec.manifests import emit_manifest
from lftool.models.digest import Digest
from lftool.models.manifest import (
    CHUNKS_PATH,
    LOCK_PATH,
    PROVENANCE_PATH,
    RECIPE_PATH,
    SBOM_PATH,
    BundleManifest,
    Member,
    Prefix,
    member_order,
)
from lftool.models.run_contract import RunContract

if TYPE_CHECKING:
    from collections.abc import Mapping

DRAFT_SIZE = 2**32 + 4096
ARGUMENTS = ("-p", "Once upon a time", "--max-tokens", "8")


def member(path: str, role: str, data: bytes) -> Member:
    return Member(path=path, role=role, size=len(data), sha256=Digest.of(data), crc32=f"{zlib.crc32(data):08x}")


def written(path: Path, weights: bytes, draft_size: int) -> Path:
    """Write a bundle of layout llamafile, with a draft model of `draft_size` zeros if that is not 0."""
    parts = PythonRuntime().parts()
    contents = {
        "model.gguf": ("weights", weights),
        "lftool/runner.py": ("runner", parts.members[0].data),
        RECIPE_PATH: ("recipe", b"# recipe\n"),
        LOCK_PATH: ("lock", b"# lock\n"),
        PROVENANCE_PATH: ("provenance", b'{"buildDefinition":{"resolvedDependencies":[]}}'),
        SBOM_PATH: ("sbom", b"{}"),
        CHUNKS_PATH: ("chunks", b""),
    }
    members = [member(name, role, data) for name, (role, data) in contents.items()]
    if draft_size:
        zeros = Digest(hashlib.sha256(b"not computed: starting checks no digest").hexdigest())
        members.append(Member(path="draft.gguf", role="draft", size=draft_size, sha256=zeros, crc32="00000000"))
    prefix = Prefix(
        role="runtime",
        size=len(parts.prefix),
        sha256=Digest.of(parts.prefix),
        crc32=f"{zlib.crc32(parts.prefix):08x}",
    )
    manifest = BundleManifest(
        name="story",
        version="1",
        target="far",
        layout="llamafile",
        backend="cpu",
        prefix=prefix,
        members=tuple(sorted(members, key=member_order)),
        run=RunContract(context=128, temperature="0", seed=1),
    )
    data = emit_manifest(manifest)
    made = arrange(prefix.size, manifest_entries(manifest, data, ()))
    bytes_of = {name: content for name, (_, content) in contents.items()} | {
        "lftool/bundle.json": data,
        "draft.gguf": b"",
    }
    with path.open("wb") as file:
        os.truncate(file.fileno(), made.size)
        os.pwrite(file.fileno(), parts.prefix, 0)
        for item in made.members:
            os.pwrite(file.fileno(), item.header + bytes_of[item.entry.path], item.header_offset)
        os.pwrite(file.fileno(), made.directory, made.directory_offset)
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def weights() -> bytes:
    """The example's model."""
    root = Path(__file__).resolve().parent.parent.parent
    return (root / "examples" / "tiny-story" / "tiny-story-f16.gguf").read_bytes()


@pytest.fixture(scope="module")
def far(weights: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of over 4 GiB, sparse."""
    return written(tmp_path_factory.mktemp("far") / "story-1-far.llamafile", weights, DRAFT_SIZE)


@pytest.fixture(scope="module")
def near(weights: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bundle without the zeros."""
    return written(tmp_path_factory.mktemp("near") / "story-1-far.llamafile", weights, 0)


def started(path: Path, env: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [path, *arguments],
        env=dict(env),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return (done.returncode, done.stdout, done.stderr)


@pytest.fixture
def interpreter() -> dict[str, str]:
    """Variables that let a bundle start with the interpreter of the tests."""
    return {"PATH": os.environ["PATH"], "LFTOOL_PYTHON": sys.executable}


def test_the_runner_and_the_manifest_lie_beyond_4_gib(far):
    with opened(far) as bundle:
        assert bundle.placed("lftool/runner.py").header_offset > 2**32
        assert bundle.placed("draft.gguf").entry.size > 2**32
        assert bundle.placed("draft.gguf").data_offset % 65536 == 0
        assert bundle.size == far.stat().st_size


def test_it_takes_little_room(far):
    assert far.stat().st_blocks * 512 < 32 * 1024 * 1024
    assert stat.S_IMODE(far.stat().st_mode) == 0o755


def test_python_lists_it(far, near):
    with zipfile.ZipFile(far) as file, zipfile.ZipFile(near) as other:
        assert file.namelist() == ["model.gguf", "draft.gguf", *other.namelist()[1:]]
        assert file.read("lftool/runner.py") == other.read("lftool/runner.py")


def test_bsdtar_lists_it(far, require_tool):
    done = subprocess.run(
        [require_tool("bsdtar", "libarchive-tools"), "-tf", far], capture_output=True, text=True, check=False
    )
    with zipfile.ZipFile(far) as file:
        assert (done.returncode, done.stderr, sorted(done.stdout.split())) == (0, "", sorted(file.namelist()))


@pytest.mark.slow
def test_started_by_itself_it_answers_as_the_small_one_does(far, near, interpreter):
    status, out, err = started(far, interpreter, *ARGUMENTS)

    assert (status, err) == (0, "")
    assert out.strip()
    assert (status, out, err) == started(near, interpreter, *ARGUMENTS)


def test_help_of_a_bundle_that_starts_by_itself(far, interpreter):
    status, out, err = started(far, interpreter, "--help")

    assert (status, err, out.splitlines()[0].split()[:2]) == (0, "", ["usage:", "story-1-far.llamafile"])


def test_without_llama_cpp_it_says_what_to_install(far, tmp_path):
    fake = tmp_path / "python3"
    fake.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    fake.chmod(0o755)

    assert started(far, {"PATH": str(tmp_path)}, *ARGUMENTS) == (
        8,
        "",
        f"{far}: needs llama-cpp-python; install it with: {sys.executable} -m pip install llama-cpp-python\n",
    )


def test_without_python_it_says_what_to_install(far, tmp_path):
    assert started(far, {"PATH": str(tmp_path)}, *ARGUMENTS) == (
        8,
        "",
        f"{far}: needs Python 3.8 or newer; install it, then: python3 -m pip install llama-cpp-python\n",
    )


def test_a_python_that_is_not_there_is_passed_over(far, tmp_path):
    """LFTOOL_PYTHON names no program, and there is no python3: one line, no complaint of the shell."""
    status, out, err = started(far, {"PATH": str(tmp_path), "LFTOOL_PYTHON": str(tmp_path / "no")}, *ARGUMENTS)

    assert (status, out, len(err.splitlines())) == (8, "", 1)


def test_inspect_reads_it(far, project):
    found = project.run("inspect", far, "--json").assert_success().json()

    with zipfile.ZipFile(far) as file:
        assert str(DRAFT_SIZE) in json.dumps(found)
        assert all(name in json.dumps(found) for name in file.namelist()[:-1])


def test_inspect_reads_one_whose_lock_it_cannot_read(far, project):
    """Only where the chat template came from stands in the lock."""
    assert project.run("inspect", far, "--json").assert_success().json()["template"]["from_source"] is None
    assert "template   of unknown origin, sha256 " in project.run("inspect", far).assert_success().out
