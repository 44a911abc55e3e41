"""stamps: what is remembered of a file holds only as long as the file cannot have changed."""

from __future__ import annotations

import json
import os

import pytest

from lftool.store.stamps import Stamps

FACTS = {"sha256": "ab" * 32}
SETTLED_NS = 2_000_000_000


@pytest.fixture
def stamps(tmp_path) -> Stamps:
    return Stamps(tmp_path / "stamps", tmp_path / "temporary")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    path.chmod(0o644)
    return path


def remember(stamps: Stamps, file) -> None:
    stamps.remember(file.stat(), file.stat(), "blob", FACTS)


def recall(stamps: Stamps, file) -> dict[str, str] | None:
    return stamps.recall(file.stat(), "blob")


def test_facts_of_a_settled_file_come_back(stamps, file, settled):
    remember(stamps, file)
    assert recall(stamps, file) == FACTS


def test_nothing_is_known_of_a_file_that_was_never_stamped(stamps, file):
    assert recall(stamps, file) is None


def test_facts_are_kept_by_kind(stamps, file, settled):
    remember(stamps, file)
    assert stamps.recall(file.stat(), "bundle") is None


def test_a_young_file_gets_no_stamp(stamps, file, clock):
    remember(stamps, file)
    assert recall(stamps, file) is None


@pytest.mark.parametrize(("age_ns", "facts"), [(SETTLED_NS - 1, None), (SETTLED_NS, FACTS)])
def test_a_file_is_young_for_exactly_two_seconds(stamps, file, monkeypatch, age_ns, facts):
    status = file.stat()
    now = max(status.st_mtime_ns, status.st_ctime_ns) + age_ns
    monkeypatch.setattr("lftool.store.stamps.time.time_ns", lambda: now)
    stamps.remember(status, status, "blob", FACTS)
    assert recall(stamps, file) == facts


def test_an_old_mtime_does_not_make_a_young_file_old(stamps, file, clock):
    """`os.utime` sets mtime, and ctime tells."""
    os.utime(file, (1, 1))
    remember(stamps, file)
    assert recall(stamps, file) is None


def test_an_mtime_in_the_future_gets_no_stamp(stamps, file, settled):
    os.utime(file, (2**33, 2**33))
    remember(stamps, file)
    assert recall(stamps, file) is None


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620, 0o602])
def test_a_file_that_others_may_write_gets_no_stamp(stamps, file, settled, mode):
    file.chmod(mode)
    remember(stamps, file)
    assert recall(stamps, file) is None


def test_a_file_that_changed_while_it_was_read_gets_no_stamp(stamps, file, settled):
    before = file.stat()
    file.write_bytes(b"CONTENT")
    stamps.remember(before, file.stat(), "blob", FACTS)
    assert recall(stamps, file) is None


def test_other_content_of_the_same_size_ends_a_stamp(stamps, file, settled):
    remember(stamps, file)
    file.write_bytes(b"CONTENT")
    assert recall(stamps, file) is None


def test_other_content_of_the_same_size_and_mtime_ends_a_stamp(stamps, file, settled):
    remember(stamps, file)
    before = file.stat()
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    assert recall(stamps, file) is None


def test_another_file_of_the_same_name_ends_a_stamp(stamps, file, settled, tmp_path):
    remember(stamps, file)
    other = tmp_path / "other"
    other.write_bytes(b"content")
    other.replace(file)
    assert recall(stamps, file) is None


def test_a_change_of_mode_ends_a_stamp(stamps, file, settled):
    remember(stamps, file)
    file.chmod(0o600)
    assert recall(stamps, file) is None


def test_a_stamp_can_be_renewed(stamps, file, settled):
    remember(stamps, file)
    file.write_bytes(b"CONTENT")
    remember(stamps, file)
    assert recall(stamps, file) == FACTS


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: b"",
        lambda kept: b"\xff",
        lambda kept: b"[]",
        lambda kept: json.dumps({"facts": FACTS}).encode(),
        lambda kept: json.dumps({"stamp": kept["stamp"]}).encode(),
        lambda kept: json.dumps({"stamp": kept["stamp"], "facts": []}).encode(),
        lambda kept: json.dumps({"stamp": kept["stamp"], "facts": {"sha256": 7}}).encode(),
        lambda kept: json.dumps({"stamp": {**kept["stamp"], "more": 1}, "facts": FACTS}).encode(),
        lambda kept: b"[" * 100_000,
    ],
    ids=["empty", "binary", "list", "no stamp", "no facts", "facts as list", "number", "extra", "deep"],
)
def test_a_damaged_stamp_is_no_stamp(stamps, file, settled, tmp_path, damage):
    remember(stamps, file)
    (kept,) = (path for path in (tmp_path / "stamps").rglob("*") if path.is_file())
    kept.write_bytes(damage(json.loads(kept.read_bytes())))
    assert recall(stamps, file) is None


def test_a_stamp_that_cannot_be_written_is_silently_none(file, settled, tmp_path):
    (tmp_path / "stamps").write_bytes(b"a file where a folder should be")
    stamps = Stamps(tmp_path / "stamps", tmp_path / "temporary")
    remember(stamps, file)
    assert recall(stamps, file) is None


@pytest.mark.parametrize("step", ["created", "before-rename"])
def test_a_full_disk_costs_the_stamp_and_nothing_else(stamps, file, settled, fail_at, step):
    fail_at(f"stamp.{step}=enospc")
    remember(stamps, file)
    assert recall(stamps, file) is None
