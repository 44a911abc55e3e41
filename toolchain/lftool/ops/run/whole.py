"""A detached bundle as the one file that a backend starts from: made once, kept by the store, checked like any other."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING

from lftool.bundle.bundle_files import opened, sidecar_of
from lftool.bundle.copying import copy_extents
from lftool.bundle.detached import has_runtime
from lftool.models.digest import Artifact, Digest
from lftool.store.durable import storage_errors
from lftool.store.stamps import identity, is_settled

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.bundle.reader import Bundle
    from lftool.models.manifest import BundleManifest
    from lftool.store.store import Store


def whole(path: Path, store: Store) -> Path:
    """Return a bundle's file; of a detached bundle a copy in the store, which shares extents where it can.

    Args:
        path: A bundle, a GGUF, or the sidecar of a detached bundle.
        store: Keeps what was attached until it is collected.

    Raises:
        FormatError: The sidecar is not canonical.
        IntegrityError: The files do not belong together.
        StorageError: A file cannot be read or written.
    """
    if sidecar_of(path) is None:
        return path
    with opened(path) as bundle:
        if not bundle.detached:
            return path

        def attach(destination: Path) -> None:
            with storage_errors("write", destination), destination.open("wb") as out:
                copy_extents(bundle.extents, out.fileno(), threading.Event())

        def make() -> Artifact:
            return store.blobs.put_with(attach, lambda _: None)

        key = _state(bundle)
        made = make() if key is None else store.remembered(key, "attached", make)
        return store.blobs.require(made, f"the bundle of {path.name}")


def whole_name(path: Path, manifest: BundleManifest) -> Path:
    """Return the path of a bundle's one file; of a detached bundle what `attach` would call it."""
    if sidecar_of(path) is None:
        return path
    return path.with_suffix(".llamafile" if has_runtime(manifest) else ".gguf")


def _state(bundle: Bundle) -> Digest | None:
    """Return a digest that tells these files, as they are now, from all others; None if they are too young to tell."""
    files = dict.fromkeys(part.descriptor for part in bundle.extents.parts if part.descriptor is not None)
    found = [os.fstat(descriptor) for descriptor in files]
    if not all(is_settled(status, time.time_ns()) for status in found):
        return None
    said = {"attached": bundle.manifest_digest.hex, "files": [identity(status) for status in found]}
    return Digest.of(json.dumps(said, sort_keys=True).encode())
