"""`lftool vendor` and `--vendor`: take what a locked build needs to a machine without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.models.digest import Artifact, Digest
from lftool.ops.fetch import fetch_project, locked_files
from lftool.ops.lock_check import check_lock
from lftool.pipeline.tools.runtimes import EXECUTABLE, compile_action_of, require_compiled
from lftool.store.vendoring import ARCHIVE_SUFFIX, take_in, write_archive, write_folder

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.models.lock import Lock
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports


@frozen(kw_only=True)
class Vendored:
    """Number and total bytes of the files written."""

    files: int
    bytes: int


def vendor_project(project: Project, destination: Path, ports: Ports) -> Vendored:
    """Fetch what the lock pins and write it to a folder, or to an archive if the name ends in `.tar.zst`.

    Includes executables of compiled runtimes, and the records of their inputs: another machine's compiler may produce
    a different executable, or that machine has none.

    Raises:
        LockError: The lock is missing or unreadable, or does not belong to the recipe.
        FetchError: A source cannot deliver.
        IntegrityError: It delivers other bytes than the pinned ones.
        StorageError: The destination cannot be written.
    """
    fetch_project(project, ports)
    lock = check_lock(project)
    artifacts = sorted({file.artifact for _, file in locked_files(lock)} | set(_executables(lock)))
    records = {}
    with ports.store.in_use():
        for name, runtime in lock.runtimes.items():
            if runtime.output is not None:
                registered = ports.registry.pinned_runtime(name)
                made = require_compiled(name, registered, lock, ports)
                action = compile_action_of(registered, runtime.toolchain or "", ports)
                records[action] = {EXECUTABLE: made}
        if destination.name.endswith(ARCHIVE_SUFFIX):
            write_archive(destination, artifacts, records, ports.store.blobs)
        else:
            write_folder(destination, artifacts, records, ports.store.blobs)
    return Vendored(files=len(artifacts), bytes=sum(artifact.size for artifact in artifacts))


@frozen(kw_only=True)
class VendoredRecords:
    """The records of a vendor folder or archive that the user trusts."""

    name: str
    records: Mapping[Digest, Mapping[str, Artifact]]

    def said(self, action: Digest) -> Mapping[str, Artifact] | None:
        """Return the outputs of `action` in its records."""
        return self.records.get(action)


def take_in_vendored(project: Project, path: Path, ports: Ports, *, trust: bool = False) -> int:
    """Bring what the lock pins from a vendor folder or archive into the store; return the number of new files.

    Args:
        project: The project.
        path: The folder or archive.
        ports: The store, and the records that count.
        trust: Whether outputs in its records count as made.

    Raises:
        LockError: The lock is missing or unreadable, or does not belong to the recipe.
        FormatError: It is not a vendor folder or archive.
        IntegrityError: A file does not match its name.
    """
    with ports.store.in_use():
        lock = check_lock(project)
        wanted = [file.artifact for _, file in locked_files(lock)]
        taken = take_in(path, [*wanted, *_executables(lock)], ports.store.blobs)
    if trust:
        records = VendoredRecords(name=f"vendor {path}", records=taken.records)
        ports.records.vouchers = (records, *ports.records.vouchers)
    return taken.blobs


def _executables(lock: Lock) -> list[Artifact]:
    return [runtime.output for runtime in lock.runtimes.values() if runtime.output is not None]
