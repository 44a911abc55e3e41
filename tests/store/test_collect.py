"""collect: least recently used goes first, nothing goes while somebody uses the store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from lftool.models.digest import Artifact, Digest
from lftool.store.collect import Collected, Usage, Verified, collect, collect_if_due, measure, verify_all

USE = """
from pathlib import Path
from lftool.store.store import Store
with Store(Path(sys.argv[1])).in_use():
    hold()
"""
HOLD_FILE = """
from pathlib import Path
from lftool.store.durable import durable_file
with durable_file(Path(sys.argv[1]), 'blob') as out:
    hold()
"""
WRITE_EVERYTHING = """
import os, sys
from pathlib import Path
from lftool.models.digest import Digest
from lftool.store.store import Store
os.environ['LFTOOL_FAILPOINT'] = 'LABEL.before-fsync=kill'
store = Store(Path(sys.argv[1]))
made = store.blobs.put_bytes(b'w', 'it')
store.actions.put(Digest.of(b'an action'), {'weights': made})
old = Path(sys.executable).resolve().stat()
store.stamps.remember(old, old, 'tool', {})
"""
DAY = 86_400


def put(store, data: bytes, used: int) -> Artifact:
    """A blob that was last used `used` seconds after the epoch."""
    artifact = store.blobs.put_bytes(data, "it")
    path = store.blobs.path(artifact)
    os.utime(path.with_name(path.name + ".facts"), (used, used))
    return artifact


def held(store) -> set[Artifact]:
    return {artifact for artifact, _ in store.blobs.blobs()}


@pytest.fixture
def three(store) -> tuple[Artifact, Artifact, Artifact]:
    """Ten bytes each; in the order of their last use."""
    return (put(store, b"ccccoldest", 1), put(store, b"aaa middle", 2), put(store, b"bbb newest", 3))


def test_least_recently_used_go_first(store, three):
    assert collect(store, 20) == Collected(removed_blobs=1, removed_bytes=10, kept_bytes=20)
    assert held(store) == set(three[1:])


@pytest.mark.parametrize(("most", "kept"), [(30, 3), (31, 3), (29, 2), (20, 2), (19, 1), (10, 1), (9, 0), (0, 0)])
def test_what_is_kept_is_within_the_bound_and_no_less_than_need_be(store, three, most, kept):
    done = collect(store, most)
    assert done == Collected(removed_blobs=3 - kept, removed_bytes=30 - 10 * kept, kept_bytes=10 * kept)
    assert held(store) == set(three[3 - kept :])


def test_a_blob_that_is_used_becomes_the_last_to_go(store, three):
    store.blobs.require(three[0], "it")
    collect(store, 10)
    assert held(store) == {three[0]}


def test_a_blob_without_facts_is_as_old_as_its_file(store, three):
    path = store.blobs.path(three[2])
    path.with_name(path.name + ".facts").unlink()
    os.utime(path, (0, 0))
    collect(store, 20)
    assert held(store) == set(three[:2])


def test_actions_whose_blobs_are_gone_are_forgotten(store, three):
    gone, kept = Digest.of(b"gone"), Digest.of(b"kept")
    store.actions.put(gone, {"weights": three[0]})
    store.actions.put(kept, {"weights": three[2]})
    collect(store, 10)
    assert list(store.actions.entries()) == [kept]


def test_an_empty_store_has_nothing_to_collect(store):
    assert collect(store, 0) == Collected(removed_blobs=0, removed_bytes=0, kept_bytes=0)


def test_nothing_is_removed_while_another_process_uses_the_store(store, three, holder):
    user = holder(USE, store.root)
    assert collect(store, 0) == Collected(removed_blobs=0, removed_bytes=0, kept_bytes=30, busy=True)
    assert held(store) == set(three)
    user.kill()
    user.wait()
    assert collect(store, 0) == Collected(removed_blobs=3, removed_bytes=30, kept_bytes=0)


def test_nothing_is_removed_while_this_process_uses_the_store(store, three):
    with store.in_use():
        assert collect(store, 0).busy
    assert held(store) == set(three)


def test_two_may_use_the_store_at_once(store, holder):
    holder(USE, store.root)
    with store.in_use():
        assert collect(store, 0).busy


def test_litter_of_dead_processes_goes_and_that_of_live_ones_stays(store, holder):
    dead = holder(HOLD_FILE, store.temporary)
    dead.kill()
    dead.wait()
    holder(HOLD_FILE, store.temporary)
    assert len(list(store.temporary.iterdir())) == 2
    collect(store, 0)
    assert len(list(store.temporary.iterdir())) == 1


@pytest.mark.parametrize("label", ["blob", "facts", "action", "stamp"])
def test_litter_of_a_process_that_died_while_it_wrote_into_the_store_goes(store, label):
    code = WRITE_EVERYTHING.replace("LABEL", label)
    killed = subprocess.run([sys.executable, "-c", code, store.root], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(store.root.rglob(".lftool-*.tmp"))) == 1
    collect(store, 0)
    assert list(store.root.rglob(".lftool-*.tmp")) == []


def test_measure_counts_blobs_actions_and_what_was_set_aside(store, three, flip):
    store.actions.put(Digest.of(b"an action"), {"weights": three[2]})
    flip(store.blobs.path(three[0]))
    store.blobs.is_sound(three[0])
    assert measure(store) == Usage(blobs=2, bytes=20, actions=1, quarantined=10, partial=0)


def test_measure_of_a_store_that_does_not_exist_is_nothing(store):
    assert measure(store) == Usage(blobs=0, bytes=0, actions=0, quarantined=0, partial=0)
    assert not store.root.exists()


def test_verify_all_finds_nothing_in_a_sound_store(store, three):
    assert verify_all(store) == Verified(blobs=3, bytes=30, corrupted=())


def test_verify_all_sets_corrupted_blobs_aside_and_forgets_the_actions_that_made_them(store, three, flip):
    bad, good = Digest.of(b"bad"), Digest.of(b"good")
    store.actions.put(bad, {"weights": three[1], "log": three[2]})
    store.actions.put(good, {"weights": three[2]})
    flip(store.blobs.path(three[1]))
    assert verify_all(store) == Verified(blobs=3, bytes=30, corrupted=(three[1].sha256,))
    assert held(store) == {three[0], three[2]}
    assert list(store.actions.entries()) == [good]
    assert verify_all(store) == Verified(blobs=2, bytes=20, corrupted=())


def test_verify_all_reads_blobs_that_a_stamp_calls_checked(store, settled):
    """A disk that rots changes bytes and no time stamp; this command is what finds that."""
    artifact = store.blobs.put_bytes(b"content", "it")
    path = store.blobs.path(artifact)
    path.chmod(0o644)
    path.write_bytes(b"CONTENT")
    status = path.stat()
    store.stamps.remember(status, status, "blob", {"sha256": artifact.sha256.hex})
    assert store.blobs.is_sound(artifact)
    assert verify_all(store).corrupted == (artifact.sha256,)


def test_a_blob_whose_content_was_cut_off_is_corrupted(store):
    artifact = store.blobs.put_bytes(b"content", "it")
    path = store.blobs.path(artifact)
    path.chmod(0o644)
    path.write_bytes(b"cont")
    assert verify_all(store).corrupted == (artifact.sha256,)


def test_a_collection_is_due_when_none_was_done_yet(store, three):
    assert collect_if_due(store, 10) == Collected(removed_blobs=2, removed_bytes=20, kept_bytes=10)


def test_a_collection_is_not_due_within_a_day(store, three):
    collect_if_due(store, 30)
    assert collect_if_due(store, 0) is None
    assert held(store) == set(three)


def test_a_collection_is_due_after_a_day(store, three):
    collect_if_due(store, 30)
    marker = store.root / "last-collect"
    earlier = marker.stat().st_mtime - DAY - 1
    os.utime(marker, (earlier, earlier))
    assert collect_if_due(store, 0) == Collected(removed_blobs=3, removed_bytes=30, kept_bytes=0)


def test_a_collection_that_found_the_store_busy_stays_due(store, three, holder):
    user = holder(USE, store.root)
    busy = collect_if_due(store, 0)
    assert busy is not None
    assert busy.busy
    user.kill()
    user.wait()
    assert collect_if_due(store, 0) == Collected(removed_blobs=3, removed_bytes=30, kept_bytes=0)


def test_verifying_is_not_using(store, three):
    before = dict(store.blobs.blobs())
    verify_all(store)
    assert dict(store.blobs.blobs()) == before


@pytest.mark.parametrize("look_after", [lambda store: collect(store, 1 << 40), verify_all], ids=["collect", "verify"])
def test_the_record_of_what_was_never_stored_stays(store, three, look_after):
    """Converted weights that were quantised in flight: without their record, they would be converted again."""
    action, made = Digest.of(b"convert"), Artifact.of(b"in flight")
    store.actions.put(action, {"weights": made})
    look_after(store)
    assert store.actions.said(action) == {"weights": made}
