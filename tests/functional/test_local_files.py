"""Files beside the recipe that somebody changed: the store has what was locked, and would hide it."""

from __future__ import annotations

import shutil
import tomllib
from types import SimpleNamespace

import attrs
import pytest

from lftool.api import ProjectFiles
from lftool.models.digest import Digest
from lftool.models.lock import LockedFile
from lftool.pipeline.sources.local_files import changed_files
from lftool.store.store import Store
from lftool.testing import tiny_gguf

CHANGED = "; it has changed since it was locked"
HINT = "to accept the change: lftool lock --upgrade base"


@pytest.fixture
def changed(locked_project):
    """A project that was built, and whose weights are others since."""
    locked_project.run("build").assert_success()
    tiny_gguf(locked_project.root / "model.gguf", seed=7)
    return locked_project


@pytest.mark.parametrize(
    "command", [("build",), ("build", "--locked"), ("lock", "--check")], ids=["build", "build --locked", "lock --check"]
)
def test_what_was_locked_is_not_built_in_the_place_of_what_is_there(changed, command):
    before = [path.read_bytes() for path in (changed.root / "dist").iterdir()]
    done = changed.run(*command)
    assert done.status == 4
    assert done.err.startswith("error: source 'base', file model.gguf: expected sha256 ")
    assert done.err.endswith(f"{CHANGED}\n  hint: {HINT}\n")
    assert [path.read_bytes() for path in (changed.root / "dist").iterdir()] == before


def test_a_change_is_seen_although_the_store_has_lost_what_was_locked(changed):
    """A shared store, or another tool's, could replace it; the file beside the recipe counts."""
    shutil.rmtree(changed.cache / "cas-v1")
    done = changed.run("build")
    assert (done.status, done.err.endswith(f"{CHANGED}\n  hint: {HINT}\n")) == (4, True)


def test_locking_keeps_the_pin_and_warns(changed):
    before = changed.lock.read_bytes()
    done = changed.run("lock").assert_success()
    assert f"{CHANGED}; {HINT}" in done.err
    assert changed.lock.read_bytes() == before


def test_an_upgrade_takes_the_change(changed):
    changed.run("lock", "--upgrade", "base").assert_success()
    changed.run("lock", "--check").assert_success()
    changed.run("build").assert_success()


def test_a_file_that_was_moved_away_is_taken_from_the_store(locked_project):
    (locked_project.root / "model.gguf").unlink()
    locked_project.run("build").assert_success()


def test_a_file_that_was_only_touched_has_not_changed(locked_project):
    (locked_project.root / "model.gguf").touch()
    locked_project.run("lock", "--check").assert_success()


@pytest.mark.parametrize(
    ("uri", "place"), [("file:weights", "weights/a.gguf"), ("file:weights/*.gguf", "weights/a.gguf")]
)
def test_files_of_folders_and_globs_are_found(plain_project, uri, place):
    path = plain_project.root / place
    path.parent.mkdir()
    shutil.move(plain_project.root / "model.gguf", path)
    plain_project.write_recipe(plain_project.recipe.read_text().replace("file:model.gguf", uri))
    plain_project.run("lock").assert_success()
    plain_project.run("lock", "--check").assert_success()
    tiny_gguf(path, seed=7)
    done = plain_project.run("lock", "--check")
    assert (done.status, "file a.gguf: expected sha256" in done.err) == (4, True)


FOLDER = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model"
{}
[model]
weights = "base"
[targets.plain]
layout = "gguf"
"""
KEPT_BY_TOOLS = (
    ".git/HEAD",
    ".git/objects/pack/one.gguf",
    ".cache/huggingface/download/model.gguf.metadata",
    ".DS_Store",
    "Thumbs.db",
    "__pycache__/modeling.cpython-311.pyc",
    "__MACOSX/._model.gguf",
    "sub/.ipynb_checkpoints/model-checkpoint.gguf",
)


@pytest.fixture
def folder(plain_project):
    """A project whose model lies in a folder with what git, a download tool and systems keep there."""
    (plain_project.root / "model").mkdir()
    shutil.move(plain_project.root / "model.gguf", plain_project.root / "model" / "model.gguf")
    for name in KEPT_BY_TOOLS:
        path = plain_project.root / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not the model's")
    plain_project.write_recipe(FOLDER.format(""))
    return plain_project


def locked_paths(project) -> list[str]:
    return [file["path"] for file in tomllib.loads(project.lock.read_text())["sources"]["base"]["files"]]


@pytest.mark.parametrize("uri", ["file:model", "file:model/", "file:model/**"])
def test_what_tools_keep_in_a_folder_is_not_locked(folder, uri):
    folder.write_recipe(FOLDER.format("").replace("file:model", uri))
    folder.run("lock").assert_success()
    assert locked_paths(folder) == ["model.gguf"]


def test_a_git_command_breaks_no_build(folder):
    folder.run("lock").assert_success()
    (folder.root / "model" / ".git" / "HEAD").write_text("another branch")
    folder.run("build").assert_success()


def test_a_link_that_leads_away_among_hidden_files_is_not_followed(folder):
    (folder.root / "model" / ".venv").mkdir()
    (folder.root / "model" / ".venv" / "python").symlink_to("/bin/sh")
    folder.run("lock").assert_success()
    assert locked_paths(folder) == ["model.gguf"]


def test_hidden_files_are_locked_where_they_are_named(folder):
    folder.write_recipe(FOLDER.format('include = ["*.gguf", ".DS_Store"]'))
    folder.run("lock").assert_success()
    assert locked_paths(folder) == [".DS_Store", "model.gguf"]


def test_a_folder_that_is_hidden_itself_can_be_named(folder):
    shutil.move(folder.root / "model", folder.root / ".models")
    folder.write_recipe(FOLDER.format("").replace("file:model", "file:.models"))
    folder.run("lock").assert_success()
    assert locked_paths(folder) == ["model.gguf"]


def test_a_file_that_no_stage_reads_may_change(folder):
    (folder.root / "model" / "notes.txt").write_text("one")
    folder.run("lock").assert_success()
    (folder.root / "model" / "notes.txt").write_text("two")
    folder.run("lock", "--check").assert_success()
    folder.run("build").assert_success()


def test_a_change_is_seen_while_the_file_is_copied(changed):
    """Nothing that was locked or made is left: the file is read once, and compared on its way into the store."""
    shutil.rmtree(changed.cache)
    shutil.rmtree(changed.root / "dist")
    done = changed.run("build")
    assert done.status == 4
    assert "error: source 'base', file model.gguf: expected sha256 " in done.err
    assert done.err.endswith(f"{CHANGED}\n  hint: {HINT}\n")


def test_a_file_of_another_size_is_not_copied(locked_project):
    tiny_gguf(locked_project.root / "model.gguf", width=64)
    shutil.rmtree(locked_project.cache)
    done = locked_project.run("build")
    assert done.status == 4
    assert "error: source 'base', file model.gguf: expected sha256 " in done.err
    assert done.err.endswith(f"{CHANGED}\n  hint: {HINT}\n")
    assert list((locked_project.cache / "cas-v1").rglob("*")) == []


def test_of_two_equal_files_the_one_that_is_not_copied_is_compared_too(tmp_path):
    """The store needs one of them; the other may have changed all the same."""
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"equal")
    file = LockedFile(path="one", size=5, sha256=Digest.of(b"equal"))
    other = attrs.evolve(file, path="two")
    parts = SimpleNamespace(needed_files=[("base", file), ("lora", other)])
    lock = SimpleNamespace(sources={"base": SimpleNamespace(uri="file:one"), "lora": SimpleNamespace(uri="file:two")})
    files, store = ProjectFiles(project=tmp_path), Store(tmp_path / "cache")
    (tmp_path / "two").write_bytes(b"other")
    (error,) = changed_files(parts, lock, files, store, but=[("base", file)])
    assert error.message.startswith("source 'lora', file two: expected sha256 ")
