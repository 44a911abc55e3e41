"""A plugin's remote store that answers with something else than it should: its name comes up, and nothing breaks."""

from __future__ import annotations

import contextlib

import pytest

from lftool.api import Anonymous, RemoteStoreType, StoredObject
from lftool.errors import PluginError
from lftool.host.origin import Origin
from lftool.host.registry import Registered
from lftool.pipeline.sources.guarded_store import GuardedStore


class Wrong:
    """Names a size as text, and yields text."""

    def find(self, key):
        return "here" if key == "text" else StoredObject(size=4)

    @contextlib.contextmanager
    def open(self, key, offset, size):
        yield iter(["text"])


@pytest.fixture
def store():
    record = RemoteStoreType(name="wrong", summary="", schemes=("wrong",), factory=lambda context: Wrong())
    origin = Origin(distribution="lftool-wrong", version="1", entry_point="wrong", module="wrong")
    return GuardedStore(Registered(record=record, origin=origin), "wrong://host", Anonymous())


def test_find_returns_a_stored_object_or_nothing(store):
    with pytest.raises(PluginError, match=r"lftool-wrong.*find\(\) returned str, not a StoredObject"):
        store.find("text")


def test_open_yields_bytes(store):
    with (
        pytest.raises(PluginError, match=r"lftool-wrong.*open\(\) yielded str, not bytes"),
        store.open("x", 0, None) as pieces,
    ):
        list(pieces)
