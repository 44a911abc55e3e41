"""locking: an advisory lock keeps others out, and says so when it could not."""

from __future__ import annotations

import pytest

from lftool.store.locking import advisory_lock

HOLD = """
from pathlib import Path
from lftool.store.locking import advisory_lock
with advisory_lock(Path(sys.argv[1]), shared=sys.argv[2] == 'shared') as held:
    assert held
    hold()
"""
TAKE = """
from pathlib import Path
from lftool.store.locking import advisory_lock
print('ready', flush=True)
with advisory_lock(Path(sys.argv[1])) as held:
    print(held, flush=True)
"""


def is_free(path, *, shared: bool = False) -> bool:
    with advisory_lock(path, shared=shared, wait=False) as held:
        return held


def test_a_free_lock_is_held_during_the_block_and_free_after_it(tmp_path):
    path = tmp_path / "locks" / "one"
    with advisory_lock(path) as held:
        assert held
        assert not is_free(path)
    assert is_free(path)


def test_an_exception_frees_the_lock(tmp_path):
    with pytest.raises(KeyError, match="mine"), advisory_lock(tmp_path / "lock"):
        raise KeyError("mine")
    assert is_free(tmp_path / "lock")


def test_another_process_keeps_an_exclusive_lock_from_us(tmp_path, holder):
    holder(HOLD, tmp_path / "lock", "exclusive")
    assert not is_free(tmp_path / "lock")
    assert not is_free(tmp_path / "lock", shared=True)


def test_shared_holders_keep_out_an_exclusive_one_only(tmp_path, holder):
    holder(HOLD, tmp_path / "lock", "shared")
    holder(HOLD, tmp_path / "lock", "shared")
    assert is_free(tmp_path / "lock", shared=True)
    assert not is_free(tmp_path / "lock")


def test_a_dead_holders_lock_is_free(tmp_path, holder):
    process = holder(HOLD, tmp_path / "lock", "exclusive")
    process.kill()
    process.wait()
    assert is_free(tmp_path / "lock")


def test_who_waits_gets_the_lock_once_it_is_free(tmp_path, holder):
    with advisory_lock(tmp_path / "lock"):
        waiting = holder(TAKE, tmp_path / "lock")
        assert waiting.poll() is None
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "True\n"


def test_a_lock_file_that_cannot_be_made_is_a_lock_that_is_not_held(tmp_path):
    (tmp_path / "locks").write_bytes(b"a file where a folder should be")
    with advisory_lock(tmp_path / "locks" / "one") as held:
        assert not held
