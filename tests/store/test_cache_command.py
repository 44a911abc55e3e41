"""`lftool cache size|verify|gc`: what it prints, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lftool.store.store import Store

if TYPE_CHECKING:
    from lftool.models.digest import Artifact


@pytest.fixture
def filled(project) -> tuple[Artifact, Artifact]:
    """Two blobs of 1,500 and 10 bytes in the cache of `project`."""
    store = Store(project.cache)
    return (store.blobs.put_bytes(b"a" * 1500, "it"), store.blobs.put_bytes(b"b" * 10, "it"))


def report(outcome) -> tuple[int, str, str]:
    return (outcome.status, outcome.out, outcome.err)


def test_size(project, filled):
    expected = f"{project.cache}: 1.5 kB in 2 blobs, 0 actions, 0 B set aside, 0 B half fetched\n"
    assert report(project.run("cache", "size")) == (0, expected, "")


def test_size_as_json(project, filled):
    outcome = project.run("cache", "size", "--json").assert_success()
    assert outcome.json() == {
        "path": str(project.cache),
        "blobs": 2,
        "bytes": 1510,
        "actions": 0,
        "quarantined_bytes": 0,
        "partial_bytes": 0,
    }


def test_size_of_a_cache_that_does_not_exist(project):
    expected = f"{project.cache}: 0 B in 0 blobs, 0 actions, 0 B set aside, 0 B half fetched\n"
    assert report(project.run("cache", "size")) == (0, expected, "")
    assert not project.cache.exists()


def test_verify_of_a_sound_cache(project, filled):
    assert report(project.run("cache", "verify")) == (0, "2 blobs, 1.5 kB read, 0 corrupted\n", "")


def test_verify_names_what_is_corrupted_and_is_exit_status_4(project, filled, flip):
    flip(Store(project.cache).blobs.path(filled[1]))
    expected = f"corrupted, set aside: {filled[1].sha256}\n2 blobs, 1.5 kB read, 1 corrupted\n"
    assert report(project.run("cache", "verify")) == (4, expected, "")
    assert report(project.run("cache", "verify")) == (0, "1 blobs, 1.5 kB read, 0 corrupted\n", "")
    expected = f"{project.cache}: 1.5 kB in 1 blobs, 0 actions, 10 B set aside, 0 B half fetched\n"
    assert report(project.run("cache", "size")) == (0, expected, "")


def test_verify_as_json(project, filled, flip):
    flip(Store(project.cache).blobs.path(filled[1]))
    outcome = project.run("cache", "verify", "--json")
    assert outcome.status == 4
    assert outcome.json() == {"blobs": 2, "bytes": 1510, "corrupted": [filled[1].sha256.hex]}


def test_verify_of_a_cache_that_does_not_exist(project):
    assert report(project.run("cache", "verify")) == (0, "0 blobs, 0 B read, 0 corrupted\n", "")


def test_gc_within_the_bound_removes_nothing(project, filled):
    assert report(project.run("cache", "gc")) == (0, "removed 0 blobs, 0 B; 1.5 kB kept\n", "")


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ("0", "removed 2 blobs, 1.5 kB; 0 B kept\n"),
        ("1509B", "removed 1 blobs, 1.5 kB; 10 B kept\n"),
        ("1.5k", "removed 1 blobs, 1.5 kB; 10 B kept\n"),
        ("1.51kB", "removed 0 blobs, 0 B; 1.5 kB kept\n"),
        ("1510", "removed 0 blobs, 0 B; 1.5 kB kept\n"),
        ("1KiB", "removed 1 blobs, 1.5 kB; 10 B kept\n"),
        ("2 KiB", "removed 0 blobs, 0 B; 1.5 kB kept\n"),
        ("1M", "removed 0 blobs, 0 B; 1.5 kB kept\n"),
        ("20G", "removed 0 blobs, 0 B; 1.5 kB kept\n"),
        ("1TiB", "removed 0 blobs, 0 B; 1.5 kB kept\n"),
    ],
)
def test_gc_keeps_to_the_size_that_is_asked_for(project, filled, bound, expected):
    assert report(project.run("cache", "gc", "--max-size", bound)) == (0, expected, "")


@pytest.mark.parametrize("bound", ["", "-1", "much", "1X", "1e9", "1,5G", "G"])
def test_gc_refuses_what_is_not_a_size(project, filled, bound):
    outcome = project.run("cache", "gc", "--max-size", bound)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.endswith(
        f"error: invalid value for '--max-size': {bound!r} is not a size; write 20G, 500MB or 1GiB\n"
        "  hint: lftool cache gc --help\n"
    )
    assert len(list(Store(project.cache).blobs.blobs())) == 2


def test_gc_as_json(project, filled):
    outcome = project.run("cache", "gc", "--max-size", "1k", "--json").assert_success()
    assert outcome.json() == {"removed_blobs": 1, "removed_bytes": 1500, "kept_bytes": 10, "busy": False}


def test_gc_while_another_process_uses_the_cache(project, filled):
    with Store(project.cache).in_use():
        said = "another lftool is using the cache; nothing removed\n"
        assert report(project.run("cache", "gc", "--max-size", "0")) == (0, said, "")
        outcome = project.run("cache", "gc", "--max-size", "0", "--json").assert_success()
    assert outcome.json() == {"removed_blobs": 0, "removed_bytes": 0, "kept_bytes": 1510, "busy": True}


def test_a_build_after_everything_was_collected_gives_the_same_bundle(plain_project, tree):
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    before = tree(plain_project.root)
    plain_project.run("cache", "gc", "--max-size", "0").assert_success()
    (plain_project.root / "dist" / "tiny-1-plain.gguf").unlink()
    plain_project.run("build").assert_success()
    assert tree(plain_project.root) == before


def test_the_cache_is_tagged_for_backup_tools(plain_project):
    plain_project.run("lock").assert_success()
    assert (
        (plain_project.cache / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    )


def test_a_sound_blob_is_not_called_corrupted_when_the_disk_is_full(plain_project):
    plain_project.run("lock").assert_success()

    done = plain_project.run("cache", "verify", env={"LFTOOL_FAILPOINT": "facts.created=enospc"})

    assert (done.status, done.out) == (1, "")
    assert done.err.endswith(
        "No space left on device\n"
        "  hint: free some space on that disk; if the cache is there, `lftool cache gc` shrinks it, and XDG_CACHE_HOME moves it\n"
    )
    assert list((plain_project.cache / "quarantine").glob("*")) == []
