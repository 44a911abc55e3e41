"""File lists: their digests, and the long lists that are stored next to the lock.

A source with more than 1,000 files has its list in a separate file, pinned by its sha256. The file's name contains the
digest, so a new list never overwrites one that the lock on disk still needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lftool.codec.canonical import canonical_json
from lftool.codec.toml_in import parse_toml, structure
from lftool.codec.toml_out import emit_toml
from lftool.errors import LockError
from lftool.models.digest import Digest
from lftool.models.lock import FileList, LockedFileList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lftool.models.lock import Lock, LockedFile

MOST_INLINE = 1000
FOLDER = "lftool.lock.d"

_HINTS = ("restore it from version control: it belongs to the lock",)
_NAME_DIGITS = 16


def content_digest(files: Iterable[LockedFile]) -> Digest:
    """Return the digest of paths and contents: the revision of files that have no other revision."""
    return Digest.of(canonical_json({file.path: {"sha256": file.sha256.hex, "size": file.size} for file in files}))


def _path(name: str, digest: Digest) -> str:
    return f"{FOLDER}/{name}-{digest.hex[:_NAME_DIGITS]}.toml"


def detach(lock: Lock) -> tuple[Lock, dict[str, bytes]]:
    """Return `lock` with long file lists replaced by references, and those lists as path to content."""
    from lftool.codec.converter import to_plain  # noqa: PLC0415 - cattrs is heavy; see the start-up test

    sources, lists = dict(lock.sources), {}
    for name, source in lock.sources.items():
        if len(source.files) > MOST_INLINE:
            data = emit_toml(to_plain(FileList(files=source.files)))
            path = _path(name, Digest.of(data))
            lists[path] = data
            reference = LockedFileList(path=path, sha256=Digest.of(data))
            sources[name] = attrs.evolve(source, files=(), file_list=reference)
    return attrs.evolve(lock, sources=sources), lists


def attach(lock: Lock, read: Callable[[str], bytes]) -> Lock:
    """Return `lock` with every reference replaced by the files that it names.

    Args:
        lock: The lock as parsed.
        read: Returns the content of a path relative to the lock.

    Raises:
        LockError: A list is missing, or does not match the lock.
    """
    sources = dict(lock.sources)
    for name, source in lock.sources.items():
        if source.file_list is None:
            continue
        path = _path(name, source.file_list.sha256)
        if source.file_list.path != path:
            raise LockError(f"sources.{name}.file-list.path: {source.file_list.path!r}, it must be {path!r}")
        data = read(path)
        if Digest.of(data) != source.file_list.sha256:
            raise LockError(
                f"{path}: the lock pins sha256 {source.file_list.sha256}, the file has {Digest.of(data)}", hints=_HINTS
            )
        found = structure(parse_toml(data, path, LockError, _HINTS), FileList, path, LockError, _HINTS)
        sources[name] = attrs.evolve(source, files=found.files, file_list=None)
    return attrs.evolve(lock, sources=sources)
