"""Where things of the user's lie; light, since `lftool run` asks before anything else happens."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the folder of the store: `$XDG_CACHE_HOME/lftool`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lftool"


def _configuration_root() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "lftool"


def user_policy() -> Path:
    """Return where a user's own trust policy is looked for: `$XDG_CONFIG_HOME/lftool/trust.toml`."""
    return _configuration_root() / "trust.toml"


def user_configuration() -> Path:
    """Return where a user's configuration is looked for: `$XDG_CONFIG_HOME/lftool/config.toml`."""
    return _configuration_root() / "config.toml"


def user_credentials() -> Path:
    """Return where a user's credentials are looked for: `$XDG_CONFIG_HOME/lftool/credentials.toml`."""
    return _configuration_root() / "credentials.toml"
