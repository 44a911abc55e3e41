"""`lftool extract` writes what the bundle was made of, and nothing over anything."""

from __future__ import annotations

import hashlib
import stat
import subprocess
import sys

import pytest


def tree(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(params=["plain", "start"])
def bundle(request, release):
    """A bundle's path, in each layout."""
    return release.root / "dist" / {"plain": "tiny-1-plain.gguf", "start": "tiny-1-start.llamafile"}[request.param]


def parts_of(archive) -> dict[str, bytes]:
    return {part.path.decode(): part.data for part in archive.parts}


def test_a_gguf_bundle_becomes_its_gguf_and_its_members(release, archive, tmp_path):
    outcome = release.run("extract", release.root / "dist" / "tiny-1-plain.gguf", tmp_path / "out").assert_success()

    assert tree(tmp_path / "out") == {"model.gguf": archive.prefix, **parts_of(archive)}
    assert (tmp_path / "out" / "model.gguf").read_bytes() == (release.root / "model.gguf").read_bytes()
    names = ["model.gguf", *(part.path.decode() for part in archive.parts)]
    assert (outcome.out, outcome.err) == ("".join(f"{tmp_path / 'out' / name}\n" for name in names), "")


def test_a_llamafile_bundle_becomes_its_runtime_and_its_members(release, start_archive, tmp_path):
    release.run("extract", release.root / "dist" / "tiny-1-start.llamafile", tmp_path / "out").assert_success()

    assert tree(tmp_path / "out") == {"runtime": start_archive.prefix, **parts_of(start_archive)}
    assert (tmp_path / "out" / "model.gguf").read_bytes() == (release.root / "model.gguf").read_bytes()


def test_only_the_runtime_is_executable(release, tmp_path):
    release.run("extract", release.root / "dist" / "tiny-1-start.llamafile", tmp_path / "out").assert_success()

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {name for name, mode in modes.items() if mode == 0o755} == {"runtime"}
    assert set(modes.values()) == {0o755, 0o644}


def test_an_empty_folder_is_taken(release, bundle, tmp_path):
    (tmp_path / "out").mkdir()
    release.run("extract", bundle, tmp_path / "out").assert_success()
    assert len(tree(tmp_path / "out")) > 1


def test_a_folder_that_is_not_empty_is_refused(release, bundle, tmp_path):
    (tmp_path / "mine").write_text("precious")

    outcome = release.run("extract", bundle, tmp_path)

    assert (outcome.status, outcome.out, outcome.err) == (
        2,
        "",
        f"error: {tmp_path} is not empty\n  hint: extract into a new folder\n",
    )
    assert tree(tmp_path) == {"mine": b"precious"}


def test_json_lists_absolute_paths(release, archive, tmp_path):
    outcome = release.run("extract", release.root / "dist" / "tiny-1-plain.gguf", tmp_path / "out", "--json")

    names = ["model.gguf", *(part.path.decode() for part in archive.parts)]
    assert outcome.assert_success().json() == {"files": [str(tmp_path / "out" / name) for name in names]}


def test_nothing_is_written_of_a_damaged_bundle(release, plain, tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(plain[:500] + bytes([plain[500] ^ 1]) + plain[501:])

    outcome = release.run("extract", path, tmp_path / "out")

    assert (outcome.status, outcome.out) == (4, "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["archive", "start_archive"])
def test_a_member_that_would_take_the_place_of_the_prefix_is_refused(release, layout, part, request, tmp_path):
    """A member called like the file that the prefix becomes would replace it: what was verified is not what is used."""
    changed = request.getfixturevalue(layout)
    name = "model.gguf" if layout == "archive" else "runtime"
    changed.parts.remove(changed.signature)
    entry = {"path": name, "role": "license", "size": 0, "crc32": "00000000", "sha256": hashlib.sha256(b"").hexdigest()}
    at = 2 if layout == "start_archive" else 0  # licences come behind weights and runner
    changed.manifest(lambda value: value["members"].insert(at, entry))
    changed.parts.insert(at, part(path=name.encode(), data=b""))
    path = tmp_path / "bad"
    path.write_bytes(changed.written())

    outcome = release.run("extract", path, tmp_path / "out")

    assert (outcome.status, outcome.out) == (4, "")
    assert not (tmp_path / "out").exists()


CUT_WHILE_EXTRACTING = """\
import os, sys
from pathlib import Path
from lftool.bundle.extraction import extract
from lftool.bundle.bundle_files import opened
from lftool.errors import LftoolError

path = Path(sys.argv[1])
with opened(path) as bundle:
    os.truncate(path, 1000)
    try:
        extract(bundle, Path(sys.argv[2]))
    except LftoolError as error:
        sys.exit(int(error.exit_status))
"""


def test_a_bundle_that_is_cut_while_it_is_extracted_ends_the_command(plain, tmp_path):
    """In a process of its own, so that a loop without end is a failure and not a hang."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(plain)

    done = subprocess.run(
        [sys.executable, "-c", CUT_WHILE_EXTRACTING, path, tmp_path / "out"],
        check=False,
        timeout=10,
        capture_output=True,
    )

    assert (done.returncode, done.stderr) == (4, b"")
