"""Garbage collection: removes least recently used blobs until the store is within its size limit."""

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
    """Disk usage of the store in bytes; `partial` is the part left by interrupted fetches."""

    blobs: int
    bytes: int
    actions: int
    quarantined: int
    partial: int


@frozen(kw_only=True)
class Collected:
    """The result of a collection; `busy` if another process was using the store and nothing was removed."""

    removed_blobs: int
    removed_bytes: int
    kept_bytes: int
    busy: bool = False


@frozen(kw_only=True)
class Verified:
    """The result of a full check. It quarantines corrupted blobs and forgets the actions that made them."""

    blobs: int
    bytes: int
    corrupted: tuple[Digest, ...]


def measure(store: Store) -> Usage:
    """Return the disk usage of the store."""
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
        StorageError: A blob cannot be read, or the result cannot be recorded.
    """
    count, total, corrupted = 0, 0, []
    for artifact, used in list(store.blobs.blobs()):
        count += 1
        total += artifact.size
        try:
            store.blobs.check(artifact)
            store.blobs.touch(artifact, used)  # reading it here is not a use
        except IntegrityError:
            corrupted.append(artifact.sha256)
        except StorageError:
            if store.blobs.holds(artifact):  # otherwise another process has removed it
                raise
    _forget_makers(store, set(corrupted))
    return Verified(blobs=count, bytes=total, corrupted=tuple(corrupted))


def _forget_makers(store: Store, gone: set[Digest]) -> None:
    """Forget the actions whose outputs have just left the store, and records that cannot be read.

    Keep the rest: weights converted and quantised in one pass were never in the store, and their record still counts.
    """
    for action in list(store.actions.entries()):
        outputs = store.actions.said(action)
        if outputs is None or any(output.sha256 in gone for output in outputs.values()):
            store.actions.forget(action)


def collect(store: Store, most_bytes: int) -> Collected:
    """Remove least recently used blobs until at most `most_bytes` are left; also remove leftovers of dead processes.

    Removes nothing while another lftool process uses the store.

    Raises:
        StorageError: The cache is not writable.
    """
    with advisory_lock(store.use_lock, wait=False) as held:
        if not held:
            if not os.access(store.use_lock.parent, os.W_OK):
                raise StorageError(f"cannot write {store.use_lock.parent}, which holds the cache's lock file")
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
    """Collect, unless that was done within the last day; return None if it was."""
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
