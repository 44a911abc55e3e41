"""Long file lists: above 1,000 files a source's list goes into a file of its own, whose sha256 the lock pins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lftool.codec.toml_in import parse_toml, structure
from lftool.codec.toml_out import emit_toml
from lftool.errors import LockError
from lftool.models.digest import Digest
from lftool.models.lock import FileList, LockedFileList

if TYPE_CHECKING:
    from collections.abc import Callable

    from lftool.models.lock import Lock

MOST_INLINE = 1000
FOLDER = "lftool.lock.d"

_HINTS = ("run `lftool lock` to write it again, and commit it with the lock",)


def detach(lock: Lock) -> tuple[Lock, dict[str, bytes]]:
    """Return `lock` with long file lists replaced by references, and path to content of those lists."""
    from lftool.codec.converter import to_plain  # noqa: PLC0415 - cattrs is heavy; see the start-up test

    sources, lists = dict(lock.sources), {}
    for name, source in lock.sources.items():
        if len(source.files) > MOST_INLINE:
            path = f"{FOLDER}/{name}.toml"
            data = emit_toml(to_plain(FileList(files=source.files)))
            lists[path] = data
            reference = LockedFileList(path=path, sha256=Digest.of(data))
            sources[name] = attrs.evolve(source, files=(), file_list=reference)
    return attrs.evolve(lock, sources=sources), lists


def attach(lock: Lock, read: Callable[[str], bytes]) -> Lock:
    """Return `lock` with every reference replaced by the files that it names.

    Args:
        lock: As it was parsed.
        read: Returns the content of a path relative to the lock.

    Raises:
        LockError: A list is not where it must be, or not what the lock pins.
    """
    sources = dict(lock.sources)
    for name, source in lock.sources.items():
        if source.file_list is None:
            continue
        path = f"{FOLDER}/{name}.toml"
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
