"""fetch: bring the pinned files of a source into the store, and refuse any other bytes."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
from attrs import define, field, frozen

from lftool.api import BytesFetched, Notice, Source, SourceFile, SourceRequest
from lftool.errors import IntegrityError
from lftool.host.guarding import checked_pieces, guarded
from lftool.host.registry import Registered
from lftool.models.digest import Artifact, Digest
from lftool.models.recipe import SourceSpec
from lftool.pipeline.identity import fetch_key
from lftool.pipeline.pinned import require_pinned_plugin
from lftool.pipeline.ports import Ports
from lftool.pipeline.sources.called import Called
from lftool.pipeline.sources.local_files import take_local
from lftool.pipeline.sources.opening import open_source
from lftool.transfer.adoption import adopt
from lftool.transfer.engine import Transfer
from lftool.transfer.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.models.lock import Lock, LockedFile

_LOOK_SECONDS = 0.2
_FILE = "file"  # the output's name in the record of a fetched version


@frozen(kw_only=True)
class SourceReader:
    """An opened source and its request; `options` are the recipe's."""

    registered: Registered[Any]
    source: Source
    request: SourceRequest
    called: Called
    options: Mapping[str, Any] = field(factory=dict)

    def fetch(self, file: SourceFile, revision: str, ports: Ports, *, locked: bool = False) -> Artifact:
        """Bring one file into the store; waits for a process that is already fetching it.

        A file of unknown digest is not fetched again while the source reports the version that was fetched before.

        Args:
            file: The file.
            revision: The resolved revision of the request.
            ports: Store, and rules of fetching.
            locked: Whether a lock pins the content; otherwise the source or the recipe states it.

        Raises:
            IntegrityError: The file does not match the lock or the source's own digest; nothing is stored.
            FetchError: It cannot be fetched.
        """
        identity = fetch_key(self.request.uri, self.options, revision, file)
        wanted = self._wanted(identity, file, revision)
        expected = Artifact(file.sha256, file.size) if file.sha256 is not None and file.size is not None else None
        listener = FetchListener(source=self.called.name, path=file.path, ports=ports)
        rules = attrs.evolve(ports.transfer, attempts=1) if self.registered.record.local else ports.transfer
        remote = self.remote(file, revision)
        with ports.store.doing(wanted.key, pulse=lambda: listener.wait(_LOOK_SECONDS)) as held:
            if not held:  # no locks here: no other process may continue the file that we begin
                wanted = attrs.evolve(wanted, key=Digest.of(secrets.token_bytes(32)))
            there = expected or _came_before(identity, file, revision, ports)
            if there is not None and ports.store.blobs.is_sound(there):
                return there
            transfer = Transfer(wanted, remote, ports.store, rules, listener)
            try:
                came = transfer.run()
            except IntegrityError as error:
                if expected is None:
                    raise
                if not locked:
                    raise IntegrityError(
                        f"{error.message}; the expected digest comes from the source, or from #sha256= in its uri",
                        hints=("compare the digest with the one that the file's owner publishes",),
                    ) from error
                hint = f"to accept the change: lftool lock --upgrade {self.called.name}"
                raise IntegrityError(f"{error.message}; it has changed since it was locked", hints=(hint,)) from error
            if expected is None and transfer.pinned and _is_one_version(file, revision):
                ports.store.actions.put(identity, {_FILE: came})
            return came

    def remote(self, file: SourceFile, revision: str) -> RemoteFile:
        """Return a file as the fetch engine reads it."""
        return RemoteFile(reader=self, file=file, revision=revision)

    def _wanted(self, identity: Digest, file: SourceFile, revision: str) -> Wanted:
        one_version = file.sha256 is not None or _is_one_version(file, revision)
        return Wanted(
            what=f"{self.called.title}, file {file.path}",
            key=identity,
            size=file.size,
            sha256=file.sha256,
            ranges=self.registered.record.ranges and one_version,
        )


def _is_one_version(file: SourceFile, revision: str) -> bool:
    """Return whether the source identifies one version of a file."""
    return bool(revision) or (file.revision is not None and file.exact)


def _came_before(identity: Digest, file: SourceFile, revision: str, ports: Ports) -> Artifact | None:
    """Return the result of an earlier fetch of this version, if no other version can have the same identity."""
    said = ports.store.actions.said(identity) if _is_one_version(file, revision) else None
    return said.get(_FILE) if said else None


@frozen(kw_only=True)
class RemoteFile:
    """A file of a source, as the fetch engine reads it."""

    reader: SourceReader
    file: SourceFile
    revision: str

    @contextlib.contextmanager
    def open(self, offset: int, size: int | None, *, pinned: bool) -> Iterator[Iterator[bytes]]:
        """Yield its bytes; exceptions from the plugin, now or while iterating, name the plugin."""
        reader = self.reader
        file = self.file if pinned else attrs.evolve(self.file, revision=None)
        with (
            guarded(reader.registered.origin),
            reader.source.open(reader.request, self.revision, file, offset, size) as pieces,
        ):
            yield checked_pieces(pieces, reader.registered.origin)


@define(kw_only=True)
class FetchListener:
    """Forwards progress as events of a source's file."""

    source: str
    path: str
    ports: Ports

    def progress(self, done: int, total: int | None) -> None:
        """Emit the progress."""
        self.ports.emit(BytesFetched(source=self.source, path=self.path, done=done, total=total))

    def notice(self, text: str) -> None:
        """Emit a warning."""
        self.ports.emit(Notice(text=text, warning=True))

    def wait(self, seconds: float) -> None:
        """Wait, or stop if the build is cancelled."""
        self.ports.wait(seconds)


def bring(artifact: Artifact, source: str, path: str, ports: Ports) -> bool:
    """Bring an output that counts as made into the store from the remote store; return whether it is there.

    Args:
        artifact: The output.
        source: Name in progress messages.
        path: The part of the source, in progress messages.
        ports: Store and remote store.
    """
    if ports.store.blobs.is_sound(artifact):
        return True
    if ports.remote_store is None:
        return False
    return ports.remote_store.fetch(artifact, FetchListener(source=source, path=path, ports=ports))


def fetch_detail(path: str, size: int) -> str:
    """Return the detail of a fetch stage."""
    return f"{path}, {size / 1e6:.1f} MB"


def fetch_locked(
    lock: Lock, name: str, wanted: LockedFile, ports: Ports, *, pinned: bool = True, packed: bool = True
) -> Artifact:
    """Make sure that a pinned file of source `name` is in the store and intact; fetches a corrupted blob again.

    Checks other tools' files on this machine first, then the remote store, then the source; a file of the project comes
    first, unless there is a remote store. The request is in the lock, the options are the recipe's.

    Args:
        lock: The lock.
        name: Name of the source.
        wanted: The file.
        ports: Store, and where else it may be.
        pinned: Whether the digest is the lock's; otherwise the lock is still being made, and it comes from the source.
        packed: Whether a bundle will contain the file.

    Raises:
        IntegrityError: The source delivers other bytes than the pinned ones.
        FetchError: The source cannot deliver.
        UnavailableError: Offline, or the installed source plugin is not the pinned one.
    """
    ports.check_cancelled()
    # First, even if another process has stored the blob meanwhile: a build leaves the comparison to this.
    if pinned and take_local(name, lock.sources[name].uri, wanted, ports, packed=packed):
        return wanted.artifact
    if ports.store.blobs.is_sound(wanted.artifact):
        return wanted.artifact
    whose = adopt(wanted.artifact, ports.store.blobs)
    if whose is not None:
        ports.emit(Notice(text=f"source {name!r}, file {wanted.path}: taken from {whose}"))
        return wanted.artifact
    if ports.remote_store is not None:
        listener = FetchListener(source=name, path=wanted.path, ports=ports)
        if ports.remote_store.fetch(wanted.artifact, listener):
            return wanted.artifact
    locked = lock.sources[name]
    options = ports.source_options.get(name, {})
    spec = SourceSpec(uri=locked.uri, include=locked.include, exclude=locked.exclude, options=options)
    registered, source = open_source(spec, Called(name), ports)
    require_pinned_plugin(registered.origin, lock, ports)
    request = SourceRequest(uri=locked.uri, include=locked.include, exclude=locked.exclude)
    reader = SourceReader(registered=registered, source=source, request=request, called=Called(name), options=options)
    file = SourceFile(path=wanted.path, size=wanted.size, sha256=wanted.sha256, revision=wanted.revision)
    return reader.fetch(file, locked.revision, ports, locked=pinned)
