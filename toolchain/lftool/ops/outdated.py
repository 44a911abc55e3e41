"""`lftool outdated`: find locked refs that now resolve to something else, without changing or storing anything."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.models.recipe import SourceSpec
from lftool.ops.lock_check import check_lock
from lftool.pipeline.parallel import in_parallel
from lftool.pipeline.sources.called import Called
from lftool.pipeline.sources.resolve import ask

if TYPE_CHECKING:
    from lftool.api import Resolution, SourceFile
    from lftool.models.lock import LockedFile, LockedSource
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.sources.fetch import SourceReader


@frozen(kw_only=True)
class SourceState:
    """A source, as it is locked and as it is now.

    Attributes:
        current: The ref's current revision; None if the content is the revision.
        changed: Paths that are new, gone or changed, sorted; all that is known if there is no revision.
        unknown: Whether the remote provides nothing to tell versions apart.
    """

    name: str
    uri: str
    locked: str
    current: str | None
    changed: tuple[str, ...]
    unknown: bool

    @property
    def moved(self) -> bool:
        """Whether an upgrade would change the lock, as far as can be told without fetching."""
        return (self.current is not None and self.current != self.locked) or bool(self.changed)


def _digest(reader: SourceReader, found: Resolution, file: SourceFile, ports: Ports) -> str:
    state = hashlib.sha256()
    with reader.remote(file, found.revision or "").open(0, None, pinned=True) as pieces:
        for piece in pieces:
            ports.check_cancelled()
            state.update(piece)
    return state.hexdigest()


def _differs(
    reader: SourceReader, found: Resolution, file: SourceFile, locked: LockedFile | None, ports: Ports
) -> bool | None:
    """Return whether a file differs from the locked one; None if the remote does not say."""
    if locked is None or (file.size is not None and file.size != locked.size):
        return True
    if file.sha256 is not None:
        return file.sha256 != locked.sha256
    if file.revision is not None and locked.revision is not None:
        return file.revision != locked.revision
    if reader.registered.record.local:
        return _digest(reader, found, file, ports) != locked.sha256.hex
    return None


def _state(name: str, locked: LockedSource, ports: Ports) -> SourceState:
    options = ports.source_options.get(name, {})
    spec = SourceSpec(uri=locked.uri, include=locked.include, exclude=locked.exclude, options=options)
    reader, found = ask(spec, Called(name), ports)
    old = {file.path: file for file in locked.files}
    new = {file.path: file for file in found.files}
    changed, unknown = set(old.keys() - new.keys()), False
    if found.revision is None:
        for path, file in new.items():
            differs = _differs(reader, found, file, old.get(path), ports)
            unknown = unknown or differs is None
            if differs:
                changed.add(path)
    else:
        changed |= new.keys() - old.keys()
    return SourceState(
        name=name,
        uri=locked.uri,
        locked=locked.revision,
        current=found.revision,
        changed=tuple(sorted(changed)),
        unknown=unknown,
    )


def outdated(project: Project, ports: Ports) -> list[SourceState]:
    """Resolve every source of the project's lock again.

    Raises:
        LockError: The lock is missing or unreadable, or does not belong to the recipe.
        FetchError: A source does not respond.
        UnavailableError: A source's plugin is not installed.
    """
    lock = check_lock(project)
    names = sorted(lock.sources)
    return in_parallel(lambda name: _state(name, lock.sources[name], ports), names, ports.transfer.files, ports)
