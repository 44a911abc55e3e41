"""Disks that are full and folders that cannot be written, for real: small and read-only mounts."""

from __future__ import annotations

import pytest

from lftool.testing import tiny_gguf
from lftool.testing.plugin import PLAIN_RECIPE

NO_SPACE_HINT = "  hint: free some space on that disk; if the cache is there, `lftool cache gc` shrinks it, and XDG_CACHE_HOME moves it\n"
READ_ONLY_HINT = "  hint: the file system is read-only; choose another folder\n"


def small(folder) -> str:
    return f"-t tmpfs -o size=64k none '{folder}'"


def read_only(folder) -> list[str]:
    return [f"--bind '{folder}' '{folder}'", f"-o remount,bind,ro '{folder}'"]


@pytest.fixture
def locked(plain_project):
    """A locked project whose weights take 300 kB, with a bundle of an earlier version in dist."""
    tiny_gguf(plain_project.root / "model.gguf", width=128)
    plain_project.write_recipe(PLAIN_RECIPE)
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    plain_project.write_recipe(PLAIN_RECIPE + "[run]\ncontext = 64\n")
    plain_project.run("lock").assert_success()
    return plain_project


def test_a_full_disk_under_the_cache(locked, mounted, tree, without_tokens):
    before = tree(locked.root)
    done = mounted(locked, [small(locked.cache)], "build")
    assert (done.returncode, done.stdout) == (1, "")
    assert without_tokens(done.stderr).endswith(
        f"error: cannot write {locked.cache}/tmp/.lftool-blob-TOKEN.tmp: No space left on device\n{NO_SPACE_HINT}"
    )
    assert tree(locked.root) == before


def test_a_full_disk_under_the_cache_while_locking(locked, mounted, tree, without_tokens):
    tiny_gguf(locked.root / "model.gguf", width=128, seed=1)
    before = tree(locked.root)
    done = mounted(locked, [small(locked.cache)], "lock", "--upgrade", "base")
    assert (done.returncode, done.stdout) == (1, "")
    assert without_tokens(done.stderr).endswith(
        f"error: cannot write {locked.cache}/tmp/.lftool-blob-TOKEN.tmp: No space left on device\n{NO_SPACE_HINT}"
    )
    assert tree(locked.root) == before


def test_a_full_disk_under_the_output_folder(locked, mounted, tree, tmp_path, without_tokens):
    before = tree(locked.root)
    output = tmp_path / "output"
    output.mkdir()
    done = mounted(locked, [small(output)], "build", "-o", output)
    assert (done.returncode, done.stdout) == (1, "")
    assert without_tokens(done.stderr).endswith(
        f"error: cannot write {output}/.lftool-bundle-TOKEN.tmp: No space left on device\n{NO_SPACE_HINT}"
    )
    assert tree(locked.root) == before


def test_a_full_disk_leaves_the_earlier_bundle_and_no_temporary_file_beside_it(
    locked, mounted, tmp_path, without_tokens
):
    """The earlier bundle takes so much of the disk that the new one, of its size, does not fit beside it."""
    saved, found, output = (tmp_path / name for name in ("saved", "found", "output"))
    (locked.root / "dist").rename(saved)
    for folder in (found, output):
        folder.mkdir()
    pages = sum(path.stat().st_size for path in saved.iterdir()) // 4096 + 16
    done = mounted(
        locked,
        [f"-t tmpfs -o size={pages * 4}k none '{output}'"],
        *("build", "-o", output),
        before=f"cp '{saved}'/* '{output}'",
        after=f"cp -a '{output}/.' '{found}'",
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert without_tokens(done.stderr).endswith(
        f"error: cannot write {output}/.lftool-bundle-TOKEN.tmp: No space left on device\n{NO_SPACE_HINT}"
    )
    assert {path.name: path.read_bytes() for path in found.iterdir()} == {
        path.name: path.read_bytes() for path in saved.iterdir()
    }


def test_extracting_onto_a_full_disk(locked, mounted, tmp_path, without_tokens):
    output = tmp_path / "output"
    output.mkdir()
    done = mounted(locked, [small(output)], "extract", "dist/tiny-1-plain.gguf", output / "parts")
    assert (done.returncode, done.stdout) == (1, "")
    assert without_tokens(done.stderr) == (
        f"error: cannot write {output}/parts/model.gguf: No space left on device\n{NO_SPACE_HINT}"
    )


def test_a_read_only_cache_that_has_nothing_yet(locked, mounted, tree):
    before = tree(locked.root)
    done = mounted(locked, [f"-t tmpfs -o ro none '{locked.cache}'"], "build")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        f"error: cannot use the cache at {locked.cache}: Read-only file system\n{READ_ONLY_HINT}"
    )
    assert tree(locked.root) == before


def test_a_read_only_cache_that_has_been_used(locked, mounted, tree):
    before = tree(locked.root, locked.cache)
    done = mounted(locked, read_only(locked.cache), "build")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        f"error: cannot create a file in {locked.cache}/tmp: Read-only file system\n{READ_ONLY_HINT}"
    )
    assert tree(locked.root, locked.cache) == before


def test_a_read_only_output_folder(locked, mounted, tree):
    before = tree(locked.root)
    dist = locked.root / "dist"
    done = mounted(locked, read_only(dist), "build")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"error: cannot create a file in {dist}: Read-only file system\n{READ_ONLY_HINT}")
    assert tree(locked.root) == before


def test_an_output_folder_that_cannot_be_made(locked, mounted, tree, tmp_path):
    before = tree(locked.root)
    outside = tmp_path / "outside"
    outside.mkdir()
    done = mounted(locked, read_only(outside), "build", "-o", outside / "dist")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"error: cannot create {outside}/dist: Read-only file system\n{READ_ONLY_HINT}")
    assert tree(locked.root) == before


def test_a_read_only_project_cannot_be_locked(locked, mounted, tree):
    locked.write_recipe(PLAIN_RECIPE)
    before = tree(locked.root)
    done = mounted(locked, read_only(locked.root), "lock")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: cannot create a file in {locked.root}: Read-only file system\n{READ_ONLY_HINT}"
    assert tree(locked.root) == before


def test_a_read_only_project_can_be_built_elsewhere_once_its_lock_has_every_output(locked, mounted, tmp_path):
    locked.run("build").assert_success()
    output = tmp_path / "output"
    done = mounted(locked, read_only(locked.root), "build", "--locked", "-o", output)
    assert done.returncode == 0, done.stderr
    bundle = "tiny-1-plain.gguf"
    assert (output / bundle).read_bytes() == (locked.root / "dist" / bundle).read_bytes()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("keygen", "-o", "release"), "cannot create a file in .: Read-only file system"),
        (("init", "new"), "cannot create new: Read-only file system"),
        (("extract", "dist/tiny-1-plain.gguf", "parts"), "cannot create a folder in {root}: Read-only file system"),
    ],
    ids=["keygen", "init", "extract"],
)
def test_other_commands_in_a_read_only_folder(locked, mounted, tree, command, message):
    before = tree(locked.root)
    done = mounted(locked, read_only(locked.root), *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {message.format(root=locked.root)}\n{READ_ONLY_HINT}"
    assert tree(locked.root) == before


def test_a_cache_that_is_a_file(locked, tree, copy_of, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lftool").write_bytes(b"")
    before = tree(locked.root)
    done = locked.spawn("build", env={"XDG_CACHE_HOME": str(elsewhere)})
    assert (done.status, done.out) == (1, "")
    assert done.err.endswith(f"error: cannot use the cache at {elsewhere}/lftool: Not a directory\n")
    assert tree(locked.root) == before


def test_an_output_folder_below_a_file(locked, tree):
    before = tree(locked.root)
    done = locked.spawn("build", "-o", locked.recipe / "dist")
    assert (done.status, done.out) == (1, "")
    assert done.err.endswith(f"error: cannot create {locked.recipe}/dist: Not a directory\n")
    assert tree(locked.root) == before
