"""`lftool vendor` and `--vendor`: carry what a locked build needs to a machine that has no network."""

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
    """How many files were written, and how many bytes they have."""

    files: int
    bytes: int


def vendor_project(project: Project, destination: Path, ports: Ports) -> Vendored:
    """Fetch what the lock pins and write it to a folder, or to an archive if the name ends in `.tar.zst`.

    Executables of compiled runtimes go with it, and the records that say what they were compiled from: another machine's
    compiler may make other ones, or it has none.

    Raises:
        LockError: There is no lock, it cannot be read, or it is not the recipe's.
        FetchError: A source does not deliver.
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
    """The records of a vendor folder or archive, where the user trusts them."""

    name: str
    records: Mapping[Digest, Mapping[str, Artifact]]

    def said(self, action: Digest) -> Mapping[str, Artifact] | None:
        """Return what it says that `action` made."""
        return self.records.get(action)


def take_in_vendored(project: Project, path: Path, ports: Ports, *, trust: bool = False) -> int:
    """Bring what the lock pins from a vendor folder or archive into the store; return how many files came.

    Args:
        project: The project.
        path: The folder or archive.
        ports: The store, and the records that count.
        trust: Whether what its records say counts as made.

    Raises:
        LockError: There is no lock, it cannot be read, or it is not the recipe's.
        FormatError: It is no vendor folder or archive.
        IntegrityError: A file is not what its name says.
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
