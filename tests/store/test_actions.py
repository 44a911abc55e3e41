"""actions: an entry counts only when it can be read and all it names is there."""

from __future__ import annotations

import json

import pytest

from lftool.models.digest import Artifact, Digest

ACTION = Digest.of(b"an action")


def entry(store):
    return store.root / "ac-v2" / ACTION.hex[:2] / ACTION.hex[2:]


def test_outputs_come_back_by_name(store):
    outputs = {"weights": store.blobs.put_bytes(b"w", "it"), "log": store.blobs.put_bytes(b"l", "it")}
    store.actions.put(ACTION, outputs)
    assert store.actions.get(ACTION) == outputs


def test_an_unknown_action_is_a_miss(store):
    assert store.actions.get(ACTION) is None


def test_a_missing_blob_is_a_miss(store):
    outputs = {"weights": store.blobs.put_bytes(b"w", "it"), "log": store.blobs.put_bytes(b"l", "it")}
    store.actions.put(ACTION, outputs)
    store.blobs.remove(outputs["log"])
    assert store.actions.get(ACTION) is None


def test_a_blob_of_another_size_is_a_miss(store):
    made = store.blobs.put_bytes(b"w", "it")
    store.actions.put(ACTION, {"weights": made})
    path = store.blobs.path(made)
    path.chmod(0o600)
    path.write_bytes(b"")
    assert store.actions.get(ACTION) is None


def test_an_action_is_hit_again_once_its_blob_is_back(store):
    made = store.blobs.put_bytes(b"w", "it")
    store.actions.put(ACTION, {"weights": made})
    store.blobs.remove(made)
    store.blobs.put_bytes(b"w", "it")
    assert store.actions.get(ACTION) == {"weights": made}


HELD = Artifact.of(b"w")


UNDECODABLE = {
    "empty": b"",
    "binary": b"\xff\xfe",
    "cut off": b"{",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "no output": b"{}",
    "output null": b'{"weights": null}',
    "output a string": b'{"weights": "x"}',
    "no digest": b'{"weights": {"sha256": "x", "size": 1}}',
    "without size": json.dumps({"weights": {"sha256": HELD.sha256.hex}}).encode(),
    "without digest": b'{"weights": {"size": 1}}',
    "digest a number": b'{"weights": {"sha256": 7, "size": 1}}',
    "digest in capitals": json.dumps({"weights": {"sha256": HELD.sha256.hex.upper(), "size": 1}}).encode(),
    "size a string": json.dumps({"weights": {"sha256": HELD.sha256.hex, "size": "1"}}).encode(),
    "digest a path": b'{"weights": {"sha256": "' + b"../" * 21 + b'a", "size": 1}}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", UNDECODABLE.values(), ids=UNDECODABLE)
def test_an_undecodable_entry_is_a_miss(store, content):
    store.blobs.put_bytes(b"w", "it")
    entry(store).parent.mkdir(parents=True)
    entry(store).write_bytes(content)
    assert store.actions.get(ACTION) is None


def test_an_entry_that_is_a_folder_is_a_miss(store):
    entry(store).mkdir(parents=True)
    assert store.actions.get(ACTION) is None


def test_a_later_entry_replaces_an_earlier_one(store):
    for data in (b"old", b"new"):
        store.actions.put(ACTION, {"weights": store.blobs.put_bytes(data, "it")})
    assert store.actions.get(ACTION) == {"weights": Artifact.of(b"new")}


def test_a_forgotten_action_is_a_miss_and_its_blobs_stay(store):
    made = store.blobs.put_bytes(b"w", "it")
    store.actions.put(ACTION, {"weights": made})
    store.actions.forget(ACTION)
    store.actions.forget(ACTION)
    assert store.actions.get(ACTION) is None
    assert store.blobs.holds(made)


def test_entries_are_listed_by_digest_and_strangers_are_not(store):
    actions = sorted(Digest.of(bytes([number])) for number in range(6))
    for action in reversed(actions):
        store.actions.put(action, {"it": store.blobs.put_bytes(b"w", "it")})
    (store.root / "ac-v2" / actions[0].hex[:2] / ".lftool-action-0011223344556677.tmp").write_bytes(b"")
    assert list(store.actions.entries()) == actions
