"""Executable copies of blobs: blobs must not be executable, so a blob that is run has a copy that is."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from lftool.store.durable import durable_file, storage_errors

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.models.digest import Artifact
    from lftool.store.store import Store

_FOLDER = "runtimes-v1"
_MODE = 0o555


def remove_unbacked(store: Store) -> None:
    """Remove copies whose blob is no longer in the store."""
    digests = {artifact.sha256.hex for artifact, _ in store.blobs.blobs()}
    for path in (store.root / _FOLDER).glob("*"):
        if path.name not in digests:
            path.unlink(missing_ok=True)


def executable(artifact: Artifact, store: Store) -> Path:
    """Return an executable file with the bytes of a blob.

    Raises:
        StorageError: The blob is not in the store, or the copy cannot be written.
        IntegrityError: The blob is corrupted.
    """
    path = store.root / _FOLDER / artifact.sha256.hex
    if path.is_file() and path.stat().st_size == artifact.size:
        return path
    source = store.blobs.require(artifact, "a runtime")
    with storage_errors("write", path), durable_file(path.parent, "extract") as out, source.open("rb") as file:
        shutil.copyfileobj(file, out.file, 1 << 20)
        out.commit(path, mode=_MODE)
    return path
