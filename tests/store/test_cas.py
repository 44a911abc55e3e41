"""cas: what goes in is hashed on its way, what comes out has been checked."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lftool.errors import FormatError, IntegrityError, StorageError
from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import CHUNK_SIZE
from lftool.store.hashing import hash_bytes
from lftool.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

DATA = b"twelve bytes"
WANTED = Artifact.of(DATA)
HEX = WANTED.sha256.hex


def facts_path(store: Store, artifact: Artifact) -> Path:
    path = store.blobs.path(artifact)
    return path.with_name(path.name + ".facts")


def files(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


def test_put_returns_the_name_and_keeps_the_bytes_read_only(store):
    assert store.blobs.put([b"twelve", b" ", b"bytes"], "it") == WANTED
    path = store.blobs.path(WANTED)
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert files(store) == [f"cas-v1/{HEX[:2]}/{HEX[2:]}", f"cas-v1/{HEX[:2]}/{HEX[2:]}.facts"]


def test_put_of_the_expected_bytes_is_stored(store):
    assert store.blobs.put([DATA], "it", expected=WANTED) == WANTED


def test_put_with_another_digest_is_refused_and_nothing_is_stored(store):
    other = Artifact.of(b"other  bytes")
    with pytest.raises(IntegrityError) as caught:
        store.blobs.put([DATA], "source 'base'", expected=other)
    assert caught.value.message == (f"source 'base': expected sha256 {other.sha256} (12 bytes), got {HEX} (12 bytes)")
    assert files(store) == []


def test_put_of_too_few_bytes_is_refused_and_nothing_is_stored(store):
    with pytest.raises(IntegrityError) as caught:
        store.blobs.put([DATA[:5]], "source 'base'", expected=WANTED)
    assert caught.value.message == (
        f"source 'base': expected sha256 {HEX} (12 bytes), got {Digest.of(DATA[:5])} (5 bytes)"
    )
    assert files(store) == []


def test_put_of_too_many_bytes_ends_the_transfer_at_once(store):
    sent = []

    def pieces():
        for piece in (DATA, b"!", b"never asked for"):
            sent.append(piece)
            yield piece

    with pytest.raises(IntegrityError) as caught:
        store.blobs.put(pieces(), "source 'base'", expected=WANTED)
    assert caught.value.message == "source 'base': more than the expected 12 bytes"
    assert sent == [DATA, b"!"]
    assert files(store) == []


def test_put_keeps_to_its_limit_when_the_name_is_not_known(store):
    with pytest.raises(IntegrityError) as caught:
        store.blobs.put([DATA], "it", size=11)
    assert caught.value.message == "it: more than the expected 11 bytes"
    assert store.blobs.put([DATA], "it", size=12) == WANTED


def test_put_whose_source_fails_stores_nothing(store):
    def pieces():
        yield DATA
        raise StorageError("the source broke")

    with pytest.raises(StorageError, match=r"^the source broke$"):
        store.blobs.put(pieces(), "it")
    assert files(store) == []


def test_put_again_replaces_a_corrupted_blob(store, flip):
    store.blobs.put_bytes(DATA, "it")
    flip(store.blobs.path(WANTED))
    store.blobs.put([DATA], "it")
    assert store.blobs.path(WANTED).read_bytes() == DATA


def test_a_blob_that_is_not_packed_gets_its_facts_when_somebody_asks(store):
    store.blobs.put_unpacked([memoryview(b"twelve"), memoryview(b" bytes")], "it", WANTED)
    assert files(store) == [f"cas-v1/{HEX[:2]}/{HEX[2:]}"]
    assert store.blobs.require(WANTED, "it").read_bytes() == DATA
    assert store.blobs.facts(WANTED) == hash_bytes(DATA).facts


def test_a_blob_that_is_not_packed_is_compared_too(store):
    other = Artifact.of(b"other  bytes")
    with pytest.raises(IntegrityError) as caught:
        store.blobs.put_unpacked([memoryview(DATA)], "source 'base'", other)
    assert caught.value.message == (f"source 'base': expected sha256 {other.sha256} (12 bytes), got {HEX} (12 bytes)")
    assert files(store) == []


def test_nothing_but_an_empty_blob_is_an_empty_blob(store):
    empty = store.blobs.put([], "nothing")
    assert empty == Artifact.of(b"")
    assert store.blobs.require(empty, "nothing").read_bytes() == b""
    assert store.blobs.facts(empty) == hash_bytes(b"").facts


def test_put_bytes_twice_writes_once(store):
    assert store.blobs.put_bytes(DATA, "it") == WANTED
    before = store.blobs.path(WANTED).stat()
    assert store.blobs.put_bytes(DATA, "it") == WANTED
    after = store.blobs.path(WANTED).stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_put_bytes_over_a_corrupted_blob_repairs_it(store, flip):
    store.blobs.put_bytes(DATA, "it")
    flip(store.blobs.path(WANTED))
    store.blobs.put_bytes(DATA, "it")
    assert store.blobs.path(WANTED).read_bytes() == DATA


def test_put_with_stores_what_was_written_once_it_has_been_accepted(store):
    checked = []
    made = store.blobs.put_with(lambda path: path.write_bytes(DATA), lambda path: checked.append(path.read_bytes()))
    assert (made, checked) == (WANTED, [DATA])
    assert store.blobs.require(WANTED, "it").read_bytes() == DATA


def test_put_with_stores_nothing_that_the_check_refuses(store):
    def refuse(path: Path) -> None:
        raise FormatError("no sound GGUF")

    with pytest.raises(FormatError, match=r"^no sound GGUF$"):
        store.blobs.put_with(lambda path: path.write_bytes(DATA), refuse)
    assert files(store) == []


def test_put_with_takes_a_file_that_the_writer_put_in_place_of_its_own(store):
    """A tool may write elsewhere and rename over the path that it was given."""

    def replace(path: Path) -> None:
        other = path.with_name("other")
        other.write_bytes(DATA)
        other.replace(path)

    made = store.blobs.put_with(replace, lambda path: None)
    path = store.blobs.path(made)
    assert (made, path.read_bytes()) == (WANTED, DATA)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_holds_looks_at_name_and_size_only(store, flip):
    assert not store.blobs.holds(WANTED)
    store.blobs.put_bytes(DATA, "it")
    assert store.blobs.holds(WANTED)
    assert not store.blobs.holds(Artifact(WANTED.sha256, WANTED.size + 1))
    flip(store.blobs.path(WANTED))
    assert store.blobs.holds(WANTED)


def test_facts_are_those_of_the_bytes(store):
    data = bytes(range(256)) * (CHUNK_SIZE // 256) + b"!"
    artifact = store.blobs.put_bytes(data, "it")
    assert store.blobs.facts(artifact) == hash_bytes(data).facts


@pytest.mark.parametrize("damage", ["lost", "short", "long", "empty"])
def test_facts_that_are_lost_or_damaged_are_computed_and_written_again(store, damage):
    artifact = store.blobs.put_bytes(DATA, "it")
    path = facts_path(store, artifact)
    good = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes({"short": good[:-1], "long": good + b"\0", "empty": b""}[damage])
    assert store.blobs.facts(artifact) == hash_bytes(DATA).facts
    assert path.read_bytes() == good


def test_facts_of_a_corrupted_blob_without_facts_are_an_error(store, flip):
    artifact = store.blobs.put_bytes(DATA, "it")
    facts_path(store, artifact).unlink()
    flip(store.blobs.path(artifact))
    with pytest.raises(IntegrityError):
        store.blobs.facts(artifact)
    assert not store.blobs.path(artifact).exists()


def test_check_of_a_sound_blob_returns_its_name_and_facts(store):
    artifact = store.blobs.put_bytes(DATA, "it")
    assert store.blobs.check(artifact) == hash_bytes(DATA)


@pytest.mark.parametrize("method", ["check", "require"])
def test_a_corrupted_blob_is_detected_and_set_aside(store, flip, method):
    artifact = store.blobs.put_bytes(DATA, "it")
    path = store.blobs.path(artifact)
    bad = flip(path, 3)
    with pytest.raises(IntegrityError) as caught:
        store.blobs.check(artifact) if method == "check" else store.blobs.require(artifact, "the weights")
    assert caught.value.message == (
        f"the cached blob {path} was corrupted and has been set aside:"
        f" expected sha256 {HEX} (12 bytes), got {Digest.of(bad)} (12 bytes)"
    )
    assert files(store) == [f"quarantine/{HEX}"]
    assert (store.quarantine / HEX).read_bytes() == bad
    assert not store.blobs.holds(artifact)


@pytest.mark.parametrize("change", ["truncated", "extended"])
def test_a_blob_of_another_size_is_set_aside_by_require(store, settled, change):
    artifact = store.blobs.put_bytes(DATA, "it")
    store.blobs.check(artifact)
    path = store.blobs.path(artifact)
    path.chmod(0o600)
    path.write_bytes(DATA[:-1] if change == "truncated" else DATA + b"!")
    with pytest.raises(IntegrityError):
        store.blobs.require(artifact, "the weights")
    assert files(store)[0] == f"quarantine/{HEX}"


def test_a_corrupted_blob_is_set_aside_although_an_earlier_check_left_a_stamp(store, settled, flip):
    artifact = store.blobs.put_bytes(DATA, "it")
    store.blobs.check(artifact)
    assert [name for name in files(store) if name.startswith("stamps-v1/")] != []
    flip(store.blobs.path(artifact))
    with pytest.raises(IntegrityError):
        store.blobs.require(artifact, "the weights")


def test_a_second_corrupted_blob_of_one_name_takes_the_first_ones_place_in_quarantine(store, flip):
    for position in (0, 1):
        store.blobs.put_bytes(DATA, "it")
        bad = flip(store.blobs.path(WANTED), position)
        assert not store.blobs.is_sound(WANTED)
    assert (store.quarantine / HEX).read_bytes() == bad


def test_require_of_a_blob_that_is_not_there_names_it(store):
    with pytest.raises(StorageError) as caught:
        store.blobs.require(WANTED, "the weights")
    assert caught.value.message == f"the weights is not in the store ({store.blobs.path(WANTED)})"


def test_check_of_a_blob_that_is_not_there_is_a_storage_error(store):
    with pytest.raises(StorageError) as caught:
        store.blobs.check(WANTED)
    assert caught.value.message == f"cannot read {store.blobs.path(WANTED)}: {os.strerror(errno.ENOENT)}"


def reads(store, artifact) -> bool:
    """Whether `require` reads the blob: then facts that were lost are there again."""
    facts_path(store, artifact).unlink()
    assert store.blobs.require(artifact, "it") == store.blobs.path(artifact)
    return facts_path(store, artifact).exists()


def another(store) -> Store:
    """The same store in another process, which has seen nothing yet."""
    return Store(store.root)


def test_a_blob_that_this_process_wrote_is_not_read_again(store):
    artifact = store.blobs.put_bytes(DATA, "it")
    assert not reads(store, artifact)


def test_a_blob_that_this_process_read_is_not_read_again(store):
    other = another(store)
    artifact = store.blobs.put_bytes(DATA, "it")
    assert [reads(other, artifact), other.blobs.check(artifact).artifact, reads(other, artifact)] == [
        True,
        artifact,
        False,
    ]


def test_another_process_reads_an_unchanged_blob_once(store, settled):
    artifact = store.blobs.put_bytes(DATA, "it")
    another(store).blobs.require(artifact, "it")
    assert not reads(another(store), artifact)


def test_another_process_reads_a_blob_that_is_too_young_for_a_stamp(store, clock):
    artifact = store.blobs.put_bytes(DATA, "it")
    another(store).blobs.require(artifact, "it")
    assert reads(another(store), artifact)


def test_a_blob_that_was_put_in_place_of_the_one_seen_is_read(store):
    artifact = store.blobs.put_bytes(DATA, "it")
    path = store.blobs.path(artifact)
    copy = path.with_name("copy")
    copy.write_bytes(b"other bytes!")
    copy.replace(path)
    assert not store.blobs.is_sound(artifact)


def test_is_sound_is_true_of_a_sound_blob_only(store, flip):
    assert not store.blobs.is_sound(WANTED)
    store.blobs.put_bytes(DATA, "it")
    assert store.blobs.is_sound(WANTED)
    flip(store.blobs.path(WANTED))
    assert not store.blobs.is_sound(WANTED)
    assert files(store) == [f"quarantine/{HEX}"]


def test_remove_deletes_blob_and_facts(store):
    artifact = store.blobs.put_bytes(DATA, "it")
    store.blobs.remove(artifact)
    store.blobs.remove(artifact)
    assert files(store) == []


def test_using_a_blob_changes_when_it_was_last_used_and_not_the_blob(store):
    artifact = store.blobs.put_bytes(DATA, "it")
    before = store.blobs.path(artifact).stat()
    os.utime(facts_path(store, artifact), (1, 1))
    assert list(store.blobs.blobs()) == [(artifact, 1.0)]
    store.blobs.require(artifact, "it")
    ((found, used),) = store.blobs.blobs()
    assert found == artifact
    assert used > 1
    after = store.blobs.path(artifact).stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_blobs_are_listed_by_digest_and_strangers_are_not(store):
    made = [store.blobs.put_bytes(bytes([number]), "it") for number in range(8)]
    folder = store.blobs.path(made[0]).parent
    for stranger in ("README", ".lftool-facts-0011223344556677.tmp", "z" * 62):
        (folder / stranger).write_bytes(b"")
    assert [artifact for artifact, _ in store.blobs.blobs()] == sorted(made)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.binary(max_size=40)))
def test_any_pieces_come_back_whole(store, pieces):
    data = b"".join(pieces)
    artifact = store.blobs.put(pieces, "it")
    assert artifact == Artifact.of(data)
    assert store.blobs.require(artifact, "it").read_bytes() == data
    assert store.blobs.facts(artifact) == hash_bytes(data).facts
