"""Compare local files that stages read with the lock, as they are now; the copy in the store would hide a change."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from lftool.api import local_file
from lftool.errors import IntegrityError, StorageError
from lftool.models.digest import Artifact, Digest

if TYPE_CHECKING:
    from lftool.api import ProjectFiles
    from lftool.models.lock import Lock, LockedFile
    from lftool.pipeline.model.parts import ModelParts
    from lftool.store.store import Store

_SCHEME = "file:"
_KIND = "local-file"
_WORTH_REMEMBERING = 1024 * 1024  # a smaller file is hashed faster than a stamp is written


def _artifact(uri: str, file: LockedFile, files: ProjectFiles, store: Store) -> Artifact:
    """Return a file's current digest and size. A file of another size is not read, since it clearly differs."""
    with local_file(uri, file.path, files) as opened:
        before = os.fstat(opened.fileno())
        known = store.stamps.recall(before, _KIND) if before.st_size >= _WORTH_REMEMBERING else None
        if known is not None:
            return Artifact(Digest(known["sha256"]), before.st_size)
        found = Digest(hashlib.file_digest(opened, "sha256").hexdigest())
        after = os.fstat(opened.fileno())
        if after.st_size >= _WORTH_REMEMBERING:
            store.stamps.remember(before, after, _KIND, {"sha256": found.hex})
        return Artifact(found, after.st_size)


def changed_files(parts: ModelParts, lock: Lock, files: ProjectFiles, store: Store) -> list[IntegrityError]:
    """Return an error for each file of a `file:` source that a stage reads and that differs from the lock.

    Missing files are skipped: the store may have them, and otherwise fetching reports them.

    Args:
        parts: The parts of the model, which determine the files.
        lock: The recipe's lock.
        files: Opens files in the project and the user's roots.
        store: Remembers digests by stamp, so that only files touched since are read again.

    Raises:
        RecipeError: A source leads outside the project.
    """
    found = []
    for name, file in sorted(parts.needed_files, key=lambda each: (each[0], each[1].path)):
        uri = lock.sources[name].uri
        if not uri.startswith(_SCHEME):
            continue
        try:
            file.artifact.require(_artifact(uri, file, files, store), f"source {name!r}, file {file.path}")
        except (OSError, StorageError):
            continue
        except IntegrityError as error:
            hint = f"to accept the change: lftool lock --upgrade {name}"
            found.append(IntegrityError(f"{error.message}; it has changed since it was locked", hints=(hint,)))
    return found


def require_unchanged(parts: ModelParts, lock: Lock, files: ProjectFiles, store: Store) -> None:
    """Raise IntegrityError if a file of a `file:` source that a stage reads differs from the lock."""
    for error in changed_files(parts, lock, files, store):
        raise error
