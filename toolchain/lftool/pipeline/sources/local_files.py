"""Compare local files that stages read with the lock, as they are now; the copy in the store would hide a change.

A file that is not in the store yet is compared while it is copied there: it is read once.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from lftool.api import BytesFetched, local_file
from lftool.errors import IntegrityError, StorageError
from lftool.models.digest import Artifact, Digest
from lftool.store.hashing import read_chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import BinaryIO

    from lftool.api import ProjectFiles
    from lftool.models.lock import Lock, LockedFile
    from lftool.pipeline.model.parts import ModelParts
    from lftool.pipeline.ports import Ports
    from lftool.store.store import Store

_SCHEME = "file:"
_KIND = "local-file"
_WORTH_REMEMBERING = 1024 * 1024  # a smaller file is hashed faster than a stamp is written


def _artifact(uri: str, file: LockedFile, files: ProjectFiles, store: Store) -> Artifact:
    """Return a file's current digest and size, as remembered if it has not changed since."""
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


def _changed(error: IntegrityError, source: str) -> IntegrityError:
    hint = f"to accept the change: lftool lock --upgrade {source}"
    return IntegrityError(f"{error.message}; it has changed since it was locked", hints=(hint,))


def _name(source: str, file: LockedFile) -> str:
    return f"source {source!r}, file {file.path}"


def take_local(source: str, uri: str, file: LockedFile, ports: Ports, *, packed: bool) -> bool:
    """Copy a pinned file of a `file:` source to the store; return whether that was possible.

    It is not, if the uri has another scheme, the file is missing, or a remote store is to be asked first.

    Args:
        source: Name of the source.
        uri: As pinned.
        file: The file.
        ports: The project's files and the store.
        packed: Whether a bundle will contain it.

    Raises:
        IntegrityError: It differs from the lock.
        RecipeError: The source leads outside the project.
    """
    if not uri.startswith(_SCHEME) or ports.remote_store is not None:
        return False
    blobs, what = ports.store.blobs, _name(source, file)
    try:
        opened = local_file(uri, file.path, ports.files)
    except (OSError, StorageError):
        return False
    with opened:
        before = os.fstat(opened.fileno())
        try:
            pieces = _pieces(source, file, opened, ports)
            if before.st_size != file.size:  # it is not copied, since it clearly differs
                found = Digest(hashlib.file_digest(opened, "sha256").hexdigest())
                file.artifact.require(Artifact(found, before.st_size), what)
            elif packed:
                blobs.put(pieces, what, expected=file.artifact, sync=False)
            else:
                blobs.put_unpacked(pieces, what, file.artifact)
        except IntegrityError as error:
            raise _changed(error, source) from error
        if file.size >= _WORTH_REMEMBERING:
            ports.store.stamps.remember(before, os.fstat(opened.fileno()), _KIND, {"sha256": file.sha256.hex})
    return True


def _pieces(source: str, file: LockedFile, opened: BinaryIO, ports: Ports) -> Iterator[memoryview]:
    done = 0
    for piece in read_chunks(opened):
        ports.check_cancelled()
        yield piece
        done += len(piece)
        ports.emit(BytesFetched(source=source, path=file.path, done=done, total=file.size))


def changed_files(
    parts: ModelParts, lock: Lock, files: ProjectFiles, store: Store, but: Collection[tuple[str, LockedFile]] = ()
) -> list[IntegrityError]:
    """Return an error for each file of a `file:` source that a stage reads and that differs from the lock.

    Missing files are skipped: the store may have them, and otherwise fetching reports them.

    Args:
        parts: The parts of the model, which determine the files.
        lock: The recipe's lock.
        files: Opens files in the project and the user's roots.
        store: Remembers digests by stamp, so that only files touched since are read again.
        but: Names of sources and files that are left out, as `take_local` will compare them.

    Raises:
        RecipeError: A source leads outside the project.
    """
    found = []
    for name, file in sorted(parts.needed_files, key=lambda each: (each[0], each[1].path)):
        uri = lock.sources[name].uri
        if not uri.startswith(_SCHEME) or (name, file) in but:
            continue
        try:
            file.artifact.require(_artifact(uri, file, files, store), _name(name, file))
        except (OSError, StorageError):
            continue
        except IntegrityError as error:
            found.append(_changed(error, name))
    return found


def require_unchanged(
    parts: ModelParts, lock: Lock, files: ProjectFiles, store: Store, but: Collection[tuple[str, LockedFile]] = ()
) -> None:
    """Raise IntegrityError if a file of a `file:` source that a stage reads, `but` some, differs from the lock."""
    for error in changed_files(parts, lock, files, store, but):
        raise error
