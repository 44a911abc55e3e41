"""Where things of the user's lie; light, since `lftool run` asks before anything else happens."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the folder of the store: `$XDG_CACHE_HOME/lftool`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lftool"


def user_policy() -> Path:
    """Return where a user's own trust policy is looked for: `$XDG_CONFIG_HOME/lftool/trust.toml`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "lftool" / "trust.toml"
