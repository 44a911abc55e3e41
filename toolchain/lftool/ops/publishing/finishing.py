"""What has been checked gets its names: files are moved, or a bundle is made of its parts."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.copying import copy_extents, write_at
from lftool.bundle.detached import opened_detached
from lftool.errors import UsageError
from lftool.ops.bundles.verify import Verification
from lftool.store.cloning import shifted
from lftool.store.durable import commit_file, durable_file, storage_errors

if TYPE_CHECKING:
    from lftool.bundle.reader import Bundle
    from lftool.models.digest import Artifact

_PIECE = 4 * 1024 * 1024


@frozen(kw_only=True)
class PulledFile:
    """What was pulled.

    Attributes:
        path: The file; of a detached bundle its sidecar.
        size: Size of the bundle or file in bytes.
        checked: What was verified; None for a file that is no bundle.
    """

    path: Path
    size: int
    checked: Verification | None = None


@frozen(kw_only=True)
class Finished:
    """Something that has been checked, and can get its names.

    Attributes:
        result: What it will be.
        moves: Files with the names that they get, and permissions; the last name is the one that people use.
        attach: A sidecar, weights and a runtime if any, that the bundle is made of; None if files are moved.
        mode: Permissions of the attached bundle.
    """

    result: PulledFile
    moves: tuple[tuple[Path, Path, int], ...] = ()
    attach: tuple[Path, Path, Path | None] | None = None
    mode: int = 0o644

    def place(self) -> PulledFile:
        """Give the files their names.

        Raises:
            StorageError: One cannot be written.
        """
        final = self.result.path
        with storage_errors("write", final):
            final.parent.mkdir(parents=True, exist_ok=True)
            if self.attach is not None:
                self._attach(*self.attach)
            for made, path, mode in self.moves:
                commit_file(made, path, "bundle", mode=mode)
        return self.result

    def _attach(self, sidecar: Path, weights: Path, runtime: Path | None) -> None:
        """Make the bundle of its parts: around the weights, where the file system can shift them, else as a copy."""
        final = self.result.path
        with opened_detached(sidecar, weights, runtime) as bundle:
            start, size = bundle.weights_extent()
            if not shifted(weights, start):
                with durable_file(final.absolute().parent, "bundle") as out:
                    copy_extents(bundle.extents, out.file.fileno(), threading.Event())
                    out.commit(final, mode=self.mode)
                return
            _write_around(bundle, weights, start, size)
        commit_file(weights, final, "bundle", mode=self.mode)


def _write_around(bundle: Bundle, weights: Path, start: int, size: int) -> None:
    """Write what a bundle has before and behind its weights, which are at their place in the file."""
    weights.chmod(0o600)
    descriptor = os.open(weights, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        for position, end in ((0, start), (start + size, bundle.size)):
            done = position
            while done < end:  # companions may be large
                # Of the bundle's files, only that of the weights has changed, and none of these bytes lies there.
                data = bundle.read(done, min(_PIECE, end - done))
                write_at(descriptor, data, done)
                done += len(data)
    finally:
        os.close(descriptor)


def taken(path: Path) -> UsageError:
    """Return the error that another file has a name."""
    return UsageError(
        f"{path} already exists, and is another file", hints=("write elsewhere: -o", "or replace it: --force")
    )


def require_free(path: Path, wanted: Artifact) -> None:
    """Raise UsageError if another file than the wanted one has a name."""
    if not os.path.lexists(path):
        return
    try:
        with path.open("rb") as file:
            same = os.fstat(file.fileno()).st_size == wanted.size and (
                hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256.hex
            )
    except OSError:
        same = False
    if not same:
        raise taken(path)
