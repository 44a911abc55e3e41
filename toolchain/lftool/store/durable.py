"""The only way that lftool writes a lasting file: unique temporary name, fsync, rename, directory fsync.

A failure before the rename leaves the previous file unchanged. A killed process leaves at most a temporary file, which
`sweep` removes once its writer is dead (the writer locks the file for as long as it lives).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from typing import TYPE_CHECKING, BinaryIO, Literal, get_args

from lftool.errors import StorageError, UsageError
from lftool.store.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Every write path has a label; tests/store/test_failpoints.py tests every label and step.
Label = Literal["blob", "facts", "action", "stamp", "lock", "bundle", "key", "extract", "recipe", "statement"]
LABELS: tuple[Label, ...] = get_args(Label)
STEPS = ("created", "before-fsync", "after-fsync", "before-rename", "after-rename", "before-dirsync", "after-dirsync")

_TEMPORARY_PREFIX = ".lftool-"
_TEMPORARY_SUFFIX = ".tmp"


@contextlib.contextmanager
def storage_errors(action: str, path: Path | str) -> Iterator[None]:
    """Turn an OSError in the block into a StorageError that names the action, the path and the remedy."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: (
                "free some space on that disk; if the cache is there, `lftool cache gc` shrinks it, and XDG_CACHE_HOME moves it",
            ),
            errno.EDQUOT: ("your quota is used up; free some space",),
            errno.EROFS: ("the file system is read-only; choose another folder",),
            errno.EACCES: ("check the permissions of the folder",),
        }.get(error.errno or 0, ())
        raise StorageError(f"cannot {action} {path}: {error.strerror or error}", hints=hints) from error


def sync_directory(directory: Path, label: Label) -> None:
    """Make a rename inside `directory` survive a power cut."""
    failpoint(label, "before-dirsync")
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    failpoint(label, "after-dirsync")


def _create(directory: Path, label: Label) -> tuple[int, Path]:
    """Create and lock a temporary file; detects by the link count whether a sweeper removed it in between."""
    while True:
        path = directory / f"{_TEMPORARY_PREFIX}{label}-{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks: sweep leaves the file alone
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink == 1:
            return handle, path
        os.close(handle)


class DurableFile:
    """A file that is being written; it has no final name before `commit`."""

    def __init__(self, file: BinaryIO, temporary: Path, label: Label) -> None:
        self.file = file
        self.path = temporary
        self._label = label
        self.committed = False

    def commit(self, destination: Path, *, mode: int = 0o444, replace: bool = True, sync: bool = True) -> None:
        """Give the file its name, replacing any existing file.

        Args:
            destination: The name.
            mode: Permissions.
            replace: Whether a file of that name may exist.
            sync: Whether content and name must survive a power cut.

        Raises:
            UsageError: `replace` is false and the file exists; it is unchanged.
            StorageError: The file could not be written; any existing file is unchanged.
        """
        with storage_errors("write", destination), self._reopened(mode) as handle:
            if sync:
                failpoint(self._label, "before-fsync")
                os.fsync(handle)
                failpoint(self._label, "after-fsync")
            destination.parent.mkdir(parents=True, exist_ok=True)
            failpoint(self._label, "before-rename")
            if replace:
                self.path.replace(destination)
            else:
                try:
                    os.link(self.path, destination)
                except FileExistsError:
                    raise UsageError(f"{destination} already exists") from None
            self.committed = True
            failpoint(self._label, "after-rename")
            if sync:
                sync_directory(destination.parent, self._label)

    @contextlib.contextmanager
    def _reopened(self, mode: int) -> Iterator[int]:
        """Yield a descriptor of the file that has the temporary name now; a tool may have replaced it."""
        self.file.flush()
        handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fchmod(handle, mode)
            yield handle
        finally:
            os.close(handle)


def sync_files(directory: Path, label: Label) -> None:
    """Make all files and folders below a folder survive a power cut.

    Raises:
        StorageError: A file cannot be read, or is a link.
    """
    with storage_errors("write", directory):
        for path in sorted(directory.rglob("*")):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                failpoint(label, "before-fsync")
                os.fsync(handle)
                failpoint(label, "after-fsync")
            finally:
                os.close(handle)


def commit_directory(made: Path, destination: Path, label: Label) -> None:
    """Give a finished folder its name; the destination must be absent or an empty folder.

    Raises:
        StorageError: It could not be renamed; the destination is unchanged.
    """
    with storage_errors("write", destination):
        made.chmod(0o755)
        sync_directory(made, label)
        failpoint(label, "before-rename")
        made.replace(destination)
        failpoint(label, "after-rename")
        sync_directory(destination.parent, label)


def commit_file(made: Path, destination: Path, label: Label, *, mode: int) -> None:
    """Give a finished file its name, replacing any existing file.

    Args:
        made: The file, on the same file system as the destination.
        destination: The name.
        label: The write path.
        mode: Permissions.

    Raises:
        StorageError: It could not be renamed; any existing file is unchanged.
    """
    with storage_errors("write", destination):
        handle = os.open(made, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(handle, mode)
            failpoint(label, "before-fsync")
            os.fsync(handle)
            failpoint(label, "after-fsync")
        finally:
            os.close(handle)
        failpoint(label, "before-rename")
        made.replace(destination)
        failpoint(label, "after-rename")
        sync_directory(destination.parent, label)


@contextlib.contextmanager
def durable_file(directory: Path, label: Label) -> Iterator[DurableFile]:
    """Yield a new file in `directory`, which is removed after the block unless committed.

    Args:
        directory: On the same file system as the destination.
        label: The write path.

    Raises:
        StorageError: It cannot be created.
    """
    with storage_errors("create a file in", directory):
        directory.mkdir(parents=True, exist_ok=True)
        handle, path = _create(directory, label)
    try:
        with os.fdopen(handle, "w+b") as file:
            failpoint(label, "created")
            made = DurableFile(file, path, label)
            yield made
    except OSError as error:
        with storage_errors("write", path):
            raise error from None
    finally:
        path.unlink(missing_ok=True)


def write_durably(
    destination: Path,
    data: bytes,
    label: Label,
    *,
    mode: int = 0o644,
    temporary: Path | None = None,
    replace: bool = True,
) -> None:
    """Write `data` to `destination`, replacing it atomically.

    Args:
        destination: The file.
        data: Its content.
        label: The write path.
        mode: Its permissions.
        temporary: Folder for the temporary file, on the same file system and swept by its owner. By default it is
            created beside the destination, and leftovers of killed writers there are removed first.
        replace: Whether a file of that name may exist.

    Raises:
        UsageError: `replace` is false and the file exists.
        StorageError: The file could not be written; before the rename, any existing file is unchanged.
    """
    if temporary is None:
        sweep(destination.parent)
    with durable_file(temporary or destination.parent, label) as out:
        out.file.write(data)
        out.commit(destination, mode=mode, replace=replace)


@contextlib.contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in `parent`, which is removed after the block.

    Raises:
        StorageError: It cannot be created.
    """
    path = parent / f"{_TEMPORARY_PREFIX}work-{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
    with storage_errors("create a folder in", parent):
        parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def sweep(directory: Path) -> int:
    """Remove temporary files and folders in `directory` whose owner is dead; return the number removed."""
    removed = 0
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError:
        return 0
    for name in names:
        if not (name.startswith(_TEMPORARY_PREFIX) and name.endswith(_TEMPORARY_SUFFIX)):
            continue
        path = directory / name
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                removed += 1
            finally:
                os.close(handle)
    return removed
