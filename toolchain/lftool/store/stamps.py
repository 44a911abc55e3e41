"""Stamps remember digests of files, so that an unchanged file is not hashed again. They never remember a verdict.

A stamp is (device, inode, size, mtime, ctime, all in nanoseconds) and facts about the content. A file younger than two
seconds gets none (its timestamp cannot tell two writes apart), nor does a file that other users may write.
"""

from __future__ import annotations

import hashlib
import json
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

_SETTLED_NS = 2_000_000_000


def identity(status: os.stat_result) -> dict[str, int]:
    """Return what tells a file, and one state of it, from all others."""
    return {
        "dev": status.st_dev,
        "ino": status.st_ino,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
    }


def is_settled(status: os.stat_result, now_ns: int) -> bool:
    """Tell whether a later change of a file would show in its times, and only this user can make one."""
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    return now_ns - max(status.st_mtime_ns, status.st_ctime_ns) >= _SETTLED_NS


def open_stamps(root: Path) -> Stamps:
    """Return the stamps of the store at `root`."""
    return Stamps(root / "stamps-v1", root / "tmp")


class Stamps:
    """Facts about files, stored under `directory`."""

    def __init__(self, directory: Path, temporary: Path) -> None:
        self._directory = directory
        self._temporary = temporary

    def _path(self, status: os.stat_result, kind: str) -> Path:
        key = hashlib.sha256(f"{kind}:{status.st_dev}:{status.st_ino}".encode()).hexdigest()
        return self._directory / key[:2] / key[2:]

    def recall(self, status: os.stat_result, kind: str) -> dict[str, str] | None:
        """Return the facts of `kind` remembered about the file, if it has not changed since."""
        try:
            kept = json.loads(self._path(status, kind).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(kept, dict) or kept.get("stamp") != identity(status):
            return None
        facts = kept.get("facts")
        if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
            return None
        return facts

    def remember(self, before: os.stat_result, after: os.stat_result, kind: str, facts: Mapping[str, str]) -> None:
        """Remember `facts` about a file that was read between the two stats; does nothing if that is unsafe."""
        if identity(before) != identity(after) or not is_settled(after, time.time_ns()):
            return
        from lftool.errors import StorageError  # noqa: PLC0415 - recalling imports little: see lftool.cli.quickstart
        from lftool.store.durable import write_durably  # noqa: PLC0415 - as above

        data = json.dumps({"stamp": identity(after), "facts": dict(facts)}, sort_keys=True).encode()
        try:
            write_durably(self._path(after, kind), data, "stamp", mode=0o600, temporary=self._temporary)
        except StorageError:
            return  # a cache that cannot be written costs time, never the result
