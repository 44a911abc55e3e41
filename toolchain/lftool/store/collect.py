"""Garbage collection: least recently used blobs go first, until the store is within its bound."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.errors import IntegrityError, StorageError
from lftool.models.digest import Digest
from lftool.store.durable import sweep
from lftool.store.executables import remove_unbacked
from lftool.store.locking import advisory_lock
from lftool.store.partial import partial_bytes, remove_old_partials

if TYPE_CHECKING:
    from lftool.store.store import Store

_DAY_SECONDS = 86_400


@frozen(kw_only=True)
class Usage:
    """What the store takes, in bytes; `partial` is what interrupted fetches left."""

    blobs: int
    bytes: int
    actions: int
    quarantined: int
    partial: int


@frozen(kw_only=True)
class Collected:
    """What a collection did; `busy` when another process was using the store and nothing was done."""

    removed_blobs: int
    removed_bytes: int
    kept_bytes: int
    busy: bool = False


@frozen(kw_only=True)
class Verified:
    """What a full check found; corrupted blobs have been set aside, and actions that made them forgotten."""

    blobs: int
    bytes: int
    corrupted: tuple[Digest, ...]


def measure(store: Store) -> Usage:
    """Return what the store takes."""
    sizes = [artifact.size for artifact, _ in store.blobs.blobs()]
    quarantined = sum(path.stat().st_size for path in store.quarantine.glob("*"))
    return Usage(
        blobs=len(sizes),
        bytes=sum(sizes),
        actions=sum(1 for _ in store.actions.entries()),
        quarantined=quarantined,
        partial=partial_bytes(store.partials),
    )


def verify_all(store: Store) -> Verified:
    """Read every blob and compare it with its name.

    Raises:
        StorageError: A blob cannot be read, or what was found cannot be written down.
    """
    count, total, corrupted = 0, 0, []
    for artifact, used in list(store.blobs.blobs()):
        count += 1
        total += artifact.size
        try:
            store.blobs.check(artifact)
            store.blobs.touch(artifact, used)  # looking is not using
        except IntegrityError:
            corrupted.append(artifact.sha256)
        except StorageError:
            if store.blobs.holds(artifact):  # else another process removed it meanwhile
                raise
    _forget_makers(store, set(corrupted))
    return Verified(blobs=count, bytes=total, corrupted=tuple(corrupted))


def _forget_makers(store: Store, gone: set[Digest]) -> None:
    """Forget the actions that made what has just left the store, and records that cannot be read.

    Others stay: weights that were converted and quantised in one go were never in the store, and their record counts.
    """
    for action in list(store.actions.entries()):
        outputs = store.actions.said(action)
        if outputs is None or any(output.sha256 in gone for output in outputs.values()):
            store.actions.forget(action)


def collect(store: Store, most_bytes: int) -> Collected:
    """Remove least recently used blobs until at most `most_bytes` are left, and litter of dead processes.

    Nothing is removed while another lftool uses the store.

    Raises:
        StorageError: The cache may not be written.
    """
    with advisory_lock(store.use_lock, wait=False) as held:
        if not held:
            if not os.access(store.use_lock.parent, os.W_OK):
                raise StorageError(f"cannot write {store.use_lock.parent}, where the cache is locked")
            return Collected(removed_blobs=0, removed_bytes=0, kept_bytes=measure(store).bytes, busy=True)
        sweep(store.temporary)
        remove_old_partials(store.partials)
        found = sorted(store.blobs.blobs(), key=lambda item: (item[1], item[0]))
        kept = sum(artifact.size for artifact, _ in found)
        removed_bytes, gone = 0, set[Digest]()
        for artifact, _ in found:
            if kept <= most_bytes:
                break
            store.blobs.remove(artifact)
            kept -= artifact.size
            gone.add(artifact.sha256)
            removed_bytes += artifact.size
        _forget_makers(store, gone)
        remove_unbacked(store)
    return Collected(removed_blobs=len(gone), removed_bytes=removed_bytes, kept_bytes=kept)


def collect_if_due(store: Store, most_bytes: int) -> Collected | None:
    """Collect if that was not done within a day; return None when it was."""
    marker = store.root / "last-collect"
    try:
        if time.time() - marker.stat().st_mtime < _DAY_SECONDS:
            return None
    except OSError:
        pass
    done = collect(store, most_bytes)
    if not done.busy:
        marker.touch()
    return done
