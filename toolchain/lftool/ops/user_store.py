"""Open the user's store."""

from __future__ import annotations

from lftool.store.places import cache_root
from lftool.store.store import Store


def open_store() -> Store:
    """Return the user's store."""
    return Store(cache_root())
