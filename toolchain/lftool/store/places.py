"""Paths of the user's files. Imports little, since `lftool run` needs it before anything else."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the store's folder: `$XDG_CACHE_HOME/lftool`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lftool"


def scratch_root() -> Path:
    """Return the folder that processes which run bundles may write to: `$XDG_CACHE_HOME/lftool/running`."""
    return cache_root() / "running"


def _state_root() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "lftool"


def chat_history() -> Path:
    """Return the path of what the user typed in chats: `$XDG_STATE_HOME/lftool/history`."""
    return _state_root() / "history"


def saved_chats() -> Path:
    """Return the folder of the conversations that the user saved: `$XDG_STATE_HOME/lftool/chats`."""
    return _state_root() / "chats"


def _configuration_root() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "lftool"


def user_policy() -> Path:
    """Return the path of the user's trust policy: `$XDG_CONFIG_HOME/lftool/trust.toml`."""
    return _configuration_root() / "trust.toml"


def user_configuration() -> Path:
    """Return the path of the user's configuration: `$XDG_CONFIG_HOME/lftool/config.toml`."""
    return _configuration_root() / "config.toml"


def user_credentials() -> Path:
    """Return the path of the user's credentials: `$XDG_CONFIG_HOME/lftool/credentials.toml`."""
    return _configuration_root() / "credentials.toml"
