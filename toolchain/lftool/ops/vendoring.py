"""`lftool vendor` and `--vendor`: carry what a locked build needs to a machine that has no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from lftool.ops.fetching import fetch_project, locked_files
from lftool.pipeline.runtimes import require_compiled
from lftool.store.vendoring import ARCHIVE_SUFFIX, take_in, write_archive, write_folder

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.models.digest import Artifact
    from lftool.models.lock import Lock
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports


@frozen(kw_only=True)
class Vendored:
    """How many files were written, and how many bytes they have."""

    files: int
    bytes: int


def vendor_project(project: Project, destination: Path, ports: Ports) -> Vendored:
    """Fetch what the lock pins and write it to a folder, or to an archive if the name ends in `.tar.zst`.

    Executables of compiled runtimes go with it: another machine's compiler may make other ones.

    Raises:
        LockError: There is no lock, or it cannot be read.
        FetchError: A source does not deliver.
        IntegrityError: It delivers other bytes than the pinned ones.
        StorageError: The destination cannot be written.
    """
    fetch_project(project, ports)
    lock = project.require_lock()
    artifacts = sorted({file.artifact for _, file in locked_files(lock)} | set(_executables(lock)))
    with ports.store.in_use():
        for name, runtime in lock.runtimes.items():
            if runtime.output is not None:
                require_compiled(name, ports.registry.pinned_runtime(name), lock, ports)
        if destination.name.endswith(ARCHIVE_SUFFIX):
            write_archive(destination, artifacts, ports.store.blobs)
        else:
            write_folder(destination, artifacts, ports.store.blobs)
    return Vendored(files=len(artifacts), bytes=sum(artifact.size for artifact in artifacts))


def take_in_vendored(project: Project, path: Path, ports: Ports) -> int:
    """Bring what the lock pins from a vendor folder or archive into the store; return how many files came.

    Raises:
        LockError: There is no lock, or it cannot be read.
        FormatError: It is no vendor folder or archive.
        IntegrityError: A file is not what its name says.
    """
    with ports.store.in_use():
        lock = project.require_lock()
        wanted = [file.artifact for _, file in locked_files(lock)]
        return take_in(path, [*wanted, *_executables(lock)], ports.store.blobs)


def _executables(lock: Lock) -> list[Artifact]:
    return [runtime.output for runtime in lock.runtimes.values() if runtime.output is not None]
