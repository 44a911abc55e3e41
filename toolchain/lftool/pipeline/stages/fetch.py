"""fetch: pinned files of a source come into the store; bytes that are not the pinned ones do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.api import BytesFetched, Source, SourceFile, SourceRequest
from lftool.errors import IntegrityError
from lftool.host.guarding import guarded
from lftool.host.registry import Registered
from lftool.models.digest import Artifact
from lftool.pipeline.opening import open_source
from lftool.pipeline.pins import require_pinned_plugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.models.lock import Lock, LockedFile
    from lftool.models.recipe import Recipe
    from lftool.pipeline.ports import Ports


@frozen(kw_only=True)
class SourceReader:
    """An opened source and the request that it answers; `name` is the recipe's name for it."""

    registered: Registered[Any]
    source: Source
    request: SourceRequest
    name: str

    def _pieces(self, file: SourceFile, revision: str, ports: Ports) -> Iterator[bytes]:
        """Iterate inside the guard: a generator's failure comes while it is consumed, not when it is called."""
        done = 0
        with guarded(self.registered.origin), self.source.open(self.request, revision, file, 0) as pieces:
            for piece in pieces:
                ports.check_cancelled()
                if not isinstance(piece, bytes):
                    raise TypeError(f"open() yielded {type(piece).__name__}, not bytes")
                done += len(piece)
                ports.emit(BytesFetched(source=self.name, path=file.path, done=done, total=file.size))
                yield piece

    def fetch(self, file: SourceFile, revision: str, ports: Ports) -> Artifact:
        """Bring one file into the store.

        Raises:
            IntegrityError: It is not what the lock, or the source itself, says; nothing is stored.
            FetchError: It cannot be read.
        """
        expected = Artifact(file.sha256, file.size) if file.sha256 else None
        what = f"source {self.name!r}, file {file.path}"
        pieces = self._pieces(file, revision, ports)
        try:
            artifact = ports.store.blobs.put(pieces, what, expected=expected, size=file.size)
        except IntegrityError as error:
            if expected is None:
                raise
            hint = f"if the change is wanted: lftool lock --upgrade {self.name}"
            raise IntegrityError(f"{error.message}; it has changed since it was locked", hints=(hint,)) from error
        return artifact


def fetch(recipe: Recipe, lock: Lock, name: str, wanted: LockedFile, ports: Ports) -> Artifact:
    """Make sure that a pinned file of source `name` is in the store and sound; a corrupted blob is fetched again.

    Raises:
        IntegrityError: The source delivers other bytes than the pinned ones.
        FetchError: The source does not deliver.
        UnavailableError: Offline, or the installed source plugin is not the pinned one.
    """
    if ports.store.blobs.is_sound(wanted.artifact):
        return wanted.artifact
    locked = lock.sources[name]
    registered, source = open_source(recipe.sources[name], name, ports)
    require_pinned_plugin(registered.origin, lock, ports)
    request = SourceRequest(uri=locked.uri, include=locked.include, exclude=locked.exclude)
    reader = SourceReader(registered=registered, source=source, request=request, name=name)
    file = SourceFile(path=wanted.path, size=wanted.size, sha256=wanted.sha256)
    return reader.fetch(file, locked.revision, ports)
