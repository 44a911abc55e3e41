"""`lftool fetch`: fill the store with what a lock pins, so that a build needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.ops.lock_check import check_lock
from lftool.pipeline.parallel import in_parallel
from lftool.pipeline.sources.fetch import fetch_detail, fetch_locked
from lftool.pipeline.tools.archives import with_archives

if TYPE_CHECKING:
    from lftool.models.digest import Artifact
    from lftool.models.lock import Lock, LockedFile
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports


def locked_files(lock: Lock) -> list[tuple[str, LockedFile]]:
    """Return (source, file) of everything that a lock pins, archives of tools included, each content once, in order."""
    found: dict[Artifact, tuple[str, LockedFile]] = {}
    for name, source in sorted(with_archives(lock).sources.items()):
        for file in source.files:
            found.setdefault(file.artifact, (name, file))
    return list(found.values())


def fetch_project(project: Project, ports: Ports) -> list[LockedFile]:
    """Fetch every file that the project's lock pins; return those that were missing from the store.

    Raises:
        LockError: The lock is missing or unreadable, or does not belong to the recipe.
        IntegrityError: A source delivers other bytes than the pinned ones.
        FetchError: A source cannot deliver.
    """
    lock = check_lock(project)

    def one(item: tuple[str, LockedFile]) -> LockedFile | None:
        name, file = item
        detail = fetch_detail(file.path, file.size)
        if ports.store.blobs.is_sound(file.artifact):
            with ports.stage("fetch", name, detail, cached=True):
                return None
        with ports.stage("fetch", name, detail):
            fetch_locked(with_archives(lock), name, file, ports)
        return file

    with ports.store.in_use():
        found = in_parallel(one, locked_files(lock), ports.transfer.files, ports)
    return [file for file in found if file is not None]
