"""Files beside the recipe that the lock pins, as they are now: what is in the store would hide that somebody changed them."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

from lftool.errors import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.models.lock import Lock, LockedFile
    from lftool.store.store import Store

_SCHEME = "file:"
_GLOB = re.compile(r"[*?\[]")
_KIND = "local-file"


def _path_of(uri: str, file: LockedFile, root: Path) -> Path:
    """Return where a file of a source lies: the URI names the file itself, its folder, or a glob below its folder."""
    wanted = uri.removeprefix(_SCHEME)
    glob = _GLOB.search(wanted)
    if glob:
        return root / wanted[: glob.start()].rpartition("/")[0] / file.path
    path = root / wanted
    return path / file.path if path.is_dir() else path


def _sha256(path: Path, store: Store) -> str:
    with path.open("rb") as opened:
        before = os.fstat(opened.fileno())
        known = store.stamps.recall(before, _KIND)
        if known is not None:
            return known["sha256"]
        found = hashlib.file_digest(opened, "sha256").hexdigest()
        store.stamps.remember(before, os.fstat(opened.fileno()), _KIND, {"sha256": found})
        return found


def changed_files(lock: Lock, root: Path, store: Store) -> list[IntegrityError]:
    """Return an error for each file of a `file:` source that has other bytes than the lock pins.

    A file that is not there any more is not among them: the store may have it, and fetching tells.

    Args:
        lock: The lock.
        root: The recipe's folder.
        store: Remembers digests by stamp, so that a file is read again only when something has touched it.
    """
    found = []
    for name, source in sorted(lock.sources.items()):
        for file in source.files if source.uri.startswith(_SCHEME) else ():
            path = _path_of(source.uri, file, root)
            try:
                same = path.stat().st_size == file.size and _sha256(path, store) == file.sha256.hex
            except OSError:
                continue
            if not same:
                message = f"source {name!r}, file {file.path}: it has changed since it was locked"
                hint = f"if the change is wanted: lftool lock --upgrade {name}"
                found.append(IntegrityError(message, hints=(hint,)))
    return found


def require_unchanged(lock: Lock, root: Path, store: Store) -> None:
    """Raise IntegrityError if a file of a `file:` source has other bytes than the lock pins."""
    for error in changed_files(lock, root, store):
        raise error
