"""Where the user's store is; light, since `lftool run` needs it before anything else happens."""

from __future__ import annotations

import os
from pathlib import Path

from lftool.store.store import Store


def cache_root() -> Path:
    """Return the folder of the store: `$XDG_CACHE_HOME/lftool`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lftool"


def open_store() -> Store:
    """Return the user's store."""
    return Store(cache_root())
