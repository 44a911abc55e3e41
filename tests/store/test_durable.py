"""durable: a file appears whole or not at all, and what dead processes leave is swept."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from lftool.errors import StorageError
from lftool.store.durable import STEPS, durable_file, scratch_directory, storage_errors, sweep, write_durably

if TYPE_CHECKING:
    from collections.abc import Callable

NO_SPACE_HINTS = (
    "free some space on that disk; if the cache is there, `lftool cache gc` shrinks it, and XDG_CACHE_HOME moves it",
)
BEFORE_RENAME = STEPS[: STEPS.index("after-rename")]
AFTER_RENAME = STEPS[STEPS.index("after-rename") :]

HOLD_FILE = """
from pathlib import Path
from lftool.store.durable import durable_file
with durable_file(Path(sys.argv[1]), 'blob') as out:
    out.file.write(b'half')
    out.file.flush()
    hold()
"""
HOLD_FOLDER = """
from pathlib import Path
from lftool.store.durable import scratch_directory
with scratch_directory(Path(sys.argv[1])) as path:
    (path / 'inside').write_bytes(b'half')
    hold()
"""


def test_a_file_that_is_not_committed_is_gone_after_the_block(tmp_path):
    with durable_file(tmp_path, "blob") as out:
        out.file.write(b"data")
        assert out.path.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_gone_after_any_exception_and_the_exception_passes(tmp_path):
    with pytest.raises(KeyError, match="mine"), durable_file(tmp_path, "blob"):
        raise KeyError("mine")
    assert list(tmp_path.iterdir()) == []


def test_an_oserror_in_the_block_becomes_a_storage_error_with_a_hint(tmp_path):
    with pytest.raises(StorageError) as caught, durable_file(tmp_path, "blob") as out:
        raise OSError(28, "No space left on device")
    assert caught.value.message == f"cannot write {out.path}: No space left on device"
    assert caught.value.hints == NO_SPACE_HINTS
    assert list(tmp_path.iterdir()) == []


def test_commit_gives_name_content_and_mode(tmp_path):
    destination = tmp_path / "deep" / "name"
    with durable_file(tmp_path / "tmp", "blob") as out:
        out.file.write(b"data")
        out.commit(destination)
        assert out.committed
    assert destination.read_bytes() == b"data"
    assert stat.S_IMODE(destination.stat().st_mode) == 0o444
    assert list((tmp_path / "tmp").iterdir()) == []


def test_commit_replaces_by_a_new_inode_so_that_readers_of_the_old_file_keep_it(tmp_path):
    destination = tmp_path / "name"
    destination.write_bytes(b"old")
    with destination.open("rb") as reader:
        write_durably(destination, b"new", "lock")
        assert reader.read() == b"old"
    assert destination.read_bytes() == b"new"


def test_until_commit_the_destination_is_untouched(tmp_path):
    destination = tmp_path / "name"
    destination.write_bytes(b"old")
    with durable_file(tmp_path, "lock") as out:
        out.file.write(b"new")
        out.file.flush()
        assert destination.read_bytes() == b"old"
        out.commit(destination)
        assert destination.read_bytes() == b"new"


def test_a_file_in_the_making_is_for_its_owner_only(tmp_path):
    with durable_file(tmp_path, "key") as out:
        assert stat.S_IMODE(out.path.stat().st_mode) == 0o600


def test_write_durably_does_not_follow_a_symbolic_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    write_durably(link, b"new", "lock")
    assert (target.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"precious", b"new", False)


@pytest.mark.parametrize("step", BEFORE_RENAME)
def test_write_durably_that_fails_before_the_rename_keeps_the_old_content(tmp_path, fail_at, step):
    destination = tmp_path / "name"
    destination.write_bytes(b"old")
    fail_at(f"lock.{step}=enospc")
    with pytest.raises(StorageError, match=r"^cannot write .*: No space left on device$") as caught:
        write_durably(destination, b"new", "lock")
    assert caught.value.hints == NO_SPACE_HINTS
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"name": b"old"}


@pytest.mark.parametrize("step", AFTER_RENAME)
def test_write_durably_that_fails_after_the_rename_leaves_the_new_content_whole(tmp_path, fail_at, step):
    destination = tmp_path / "name"
    destination.write_bytes(b"old")
    fail_at(f"lock.{step}=enospc")
    with pytest.raises(StorageError, match=r"^cannot write .*/name: No space left on device$"):
        write_durably(destination, b"new", "lock")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"name": b"new"}


@pytest.mark.parametrize("step", STEPS)
def test_write_durably_that_is_interrupted_leaves_old_or_new_and_no_litter(tmp_path, fail_at, step):
    destination = tmp_path / "name"
    destination.write_bytes(b"old")
    fail_at(f"lock.{step}=interrupt")
    with pytest.raises(KeyboardInterrupt):
        write_durably(destination, b"new", "lock")
    expected = b"old" if step in BEFORE_RENAME else b"new"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"name": expected}


def test_a_failpoint_fires_only_for_its_label_and_step(tmp_path, fail_at):
    fail_at("blob.created=enospc")
    write_durably(tmp_path / "name", b"new", "lock")
    assert (tmp_path / "name").read_bytes() == b"new"


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(StorageError) as caught, durable_file(tmp_path / "folder", "blob"):
        pass
    assert caught.value.message == f"cannot create a file in {tmp_path / 'folder'}: File exists"


@pytest.mark.parametrize(
    ("number", "text", "hints"),
    [
        (28, "No space left on device", NO_SPACE_HINTS),
        (122, "Disk quota exceeded", ("your quota is used up; free some space",)),
        (30, "Read-only file system", ("the file system is read-only; choose another folder",)),
        (13, "Permission denied", ("check the permissions of the folder",)),
        (5, "Input/output error", ()),
    ],
)
def test_a_storage_error_says_what_on_what_why_and_what_to_do(number, text, hints):
    with pytest.raises(StorageError) as caught, storage_errors("write", "x"):
        raise OSError(number, text)
    assert (caught.value.message, caught.value.hints) == (f"cannot write x: {text}", hints)


def test_sweep_removes_a_file_of_a_dead_writer(tmp_path, holder: Callable):
    process = holder(HOLD_FILE, tmp_path)
    process.kill()
    process.wait()
    assert len(list(tmp_path.iterdir())) == 1
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_sweep_keeps_a_file_of_a_live_writer(tmp_path, holder: Callable):
    holder(HOLD_FILE, tmp_path)
    before = list(tmp_path.iterdir())
    assert sweep(tmp_path) == 0
    assert list(tmp_path.iterdir()) == before


def test_sweep_keeps_a_file_of_this_very_process(tmp_path):
    with durable_file(tmp_path, "blob") as out:
        assert sweep(tmp_path) == 0
        assert out.path.exists()


def test_sweep_removes_a_folder_of_a_dead_owner_and_what_is_in_it(tmp_path, holder: Callable):
    process = holder(HOLD_FOLDER, tmp_path)
    process.kill()
    process.wait()
    assert [path.name for path in tmp_path.rglob("inside")] == ["inside"]
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_sweep_keeps_a_folder_of_a_live_owner(tmp_path, holder: Callable):
    holder(HOLD_FOLDER, tmp_path)
    assert sweep(tmp_path) == 0
    assert [path.name for path in tmp_path.rglob("inside")] == ["inside"]


def test_sweep_touches_only_names_of_ours(tmp_path):
    names = ["model.gguf", ".lftool-notes", "other.tmp", ".lftool-blob-0011223344556677.tmp.bak"]
    for name in names:
        (tmp_path / name).write_bytes(b"theirs")
    assert sweep(tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_sweep_does_not_follow_a_symbolic_link(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / ".lftool-blob-0011223344556677.tmp").symlink_to(target)
    sweep(tmp_path)
    assert target.read_bytes() == b"precious"


def test_sweep_of_a_folder_that_is_not_there_does_nothing(tmp_path):
    assert sweep(tmp_path / "nowhere") == 0


def test_a_scratch_directory_is_empty_private_and_gone_after_the_block(tmp_path):
    with scratch_directory(tmp_path / "tmp") as path:
        assert list(path.iterdir()) == []
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        (path / "file").write_bytes(b"")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_scratch_directory_is_gone_after_an_exception(tmp_path):
    with pytest.raises(KeyError, match="mine"), scratch_directory(tmp_path):
        raise KeyError("mine")
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_directory_in_a_file_is_a_storage_error(tmp_path):
    parent = tmp_path / "parent"
    parent.write_bytes(b"")
    with pytest.raises(StorageError) as caught, scratch_directory(parent):
        pass
    assert caught.value.message == f"cannot create a folder in {parent}: File exists"
