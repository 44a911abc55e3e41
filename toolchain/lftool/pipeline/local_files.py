"""Files beside the recipe that the lock pins, as they are now: what is in the store would hide that somebody changed them."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

from lftool.errors import IntegrityError
from lftool.models.digest import Artifact, Digest

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.models.lock import Lock, LockedFile
    from lftool.store.store import Store

_SCHEME = "file:"
_GLOB = re.compile(r"[*?\[]")
_KIND = "local-file"
_WORTH_REMEMBERING = 1024 * 1024  # a smaller file is hashed faster than a stamp is written


def _path_of(uri: str, file: LockedFile, root: Path) -> Path:
    """Return where a file of a source lies: the URI names the file itself, its folder, or a glob below its folder."""
    wanted = uri.removeprefix(_SCHEME)
    glob = _GLOB.search(wanted)
    if glob:
        return root / wanted[: glob.start()].rpartition("/")[0] / file.path
    path = root / wanted
    return path / file.path if path.is_dir() else path


def _artifact(path: Path, store: Store) -> Artifact:
    with path.open("rb") as opened:
        before = os.fstat(opened.fileno())
        known = store.stamps.recall(before, _KIND) if before.st_size >= _WORTH_REMEMBERING else None
        if known is not None:
            return Artifact(Digest(known["sha256"]), before.st_size)
        found = Digest(hashlib.file_digest(opened, "sha256").hexdigest())
        after = os.fstat(opened.fileno())
        if after.st_size >= _WORTH_REMEMBERING:
            store.stamps.remember(before, after, _KIND, {"sha256": found.hex})
        return Artifact(found, after.st_size)


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
                file.artifact.require(_artifact(path, store), f"source {name!r}, file {file.path}")
            except OSError:
                continue
            except IntegrityError as error:
                hint = f"if the change is wanted: lftool lock --upgrade {name}"
                found.append(IntegrityError(f"{error.message}; it has changed since it was locked", hints=(hint,)))
    return found


def require_unchanged(lock: Lock, root: Path, store: Store) -> None:
    """Raise IntegrityError if a file of a `file:` source has other bytes than the lock pins."""
    for error in changed_files(lock, root, store):
        raise error
