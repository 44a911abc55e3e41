"""Archives that contain tools: pinned, fetched like the files of a source; the needed members are kept in the store."""

from __future__ import annotations

import contextlib
import tarfile
import zipfile
from typing import TYPE_CHECKING

import attrs

from lftool.api import is_chosen
from lftool.codec.canonical import canonical_json
from lftool.errors import FormatError, IntegrityError, LockError
from lftool.models.digest import Digest
from lftool.models.lock import check_relative_path
from lftool.models.recipe import SourceSpec
from lftool.pipeline.identity import unpack_key
from lftool.pipeline.sources.fetch import fetch_locked
from lftool.pipeline.sources.resolve import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.api import ToolArchive
    from lftool.models.digest import Artifact
    from lftool.models.lock import Lock, LockedSource
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.tools.tool import Tool

_MAX_MEMBERS = 20_000
_MAX_BYTES = 256 * 1024 * 1024
_OLDEST = (1980, 1, 1, 0, 0, 0)


def source_of(name: str) -> str:
    """Return the source name of a tool's archive, which `lftool lock --upgrade` accepts too."""
    return f"tool:{name}"


def with_archives(lock: Lock) -> Lock:
    """Return a lock whose sources include the archives of tools, so that they are fetched and vendored too."""
    pinned = [(name, tool.archive) for name, tool in lock.tools.items()]
    pinned += [(name, runtime.archive) for name, runtime in lock.runtimes.items()]
    archives = {source_of(name): archive for name, archive in pinned if archive is not None}
    return attrs.evolve(lock, sources={**lock.sources, **archives})


def is_of(pinned: LockedSource, archive: ToolArchive) -> bool:
    """Return whether a lock pins the archive that the installed plugin names."""
    asked = (pinned.uri, pinned.include, pinned.exclude, dict(pinned.options))
    same = asked == (archive.uri, archive.include, (), {})
    return same and [file.sha256 for file in pinned.files] == [archive.sha256]


def require_archive(pinned: LockedSource, archive: ToolArchive, name: str) -> None:
    """Raise LockError unless a lock pins the archive that the installed plugin names, since its code runs here."""
    if not is_of(pinned, archive):
        theirs = ", ".join(file.sha256.hex for file in pinned.files)
        raise LockError(
            f"tool {name}: the lock names the archive {pinned.uri} (sha256 {theirs}), the installed plugin"
            f" {archive.uri} (sha256 {archive.sha256})",
            hints=("pin the plugin's: lftool lock",),
        )


def resolve_archive(archive: ToolArchive, old: LockedSource | None, name: str, ports: Ports) -> LockedSource:
    """Pin the archive that a plugin names, a single file of a source.

    Args:
        archive: The plugin's archive.
        old: The pin in an earlier lock; kept if it is the same archive.
        name: Name of the tool.
        ports: Registry and store.

    Raises:
        FetchError: The source has no such file, or several.
        IntegrityError: The source's archive is not the one that the plugin names.
        UnavailableError: The source needs a network, and the build is offline.
    """
    if old is not None and is_of(old, archive):
        return old
    spec = SourceSpec(uri=archive.uri, include=archive.include)
    found = resolve(spec, source_of(name), ports)
    if not is_of(found, archive):
        theirs = ", ".join(f"{file.path} (sha256 {file.sha256})" for file in found.files)
        raise IntegrityError(
            f"tool {name}: expected one archive of sha256 {archive.sha256}, {archive.uri} has {theirs}"
        )
    return found


def unpacked(archive: ToolArchive, pinned: LockedSource, name: str, lock: Lock, ports: Ports) -> Artifact:
    """Return a ZIP of the members that a tool needs from its pinned archive, cached or newly fetched and unpacked.

    Raises:
        LockError: The lock pins a different archive; nothing is fetched.
        IntegrityError: The source delivers other bytes than the pinned ones.
        FormatError: The archive is damaged, too large, or has unsafe paths.
        UnavailableError: Offline, and the archive is not in the store.
    """
    require_archive(pinned, archive, name)
    file = pinned.files[0]

    def unpack() -> Artifact:
        source = source_of(name)
        fetch_locked(attrs.evolve(lock, sources={**lock.sources, source: pinned}), source, file, ports)
        path = ports.store.blobs.require(file.artifact, source)
        return ports.store.blobs.put_with(
            lambda out: _repack(path, out, archive, f"{source}, file {file.path}"), lambda _: None
        )

    return ports.store.remembered(unpack_key(file.artifact, archive.members), "members", unpack)


def _repack(path: Path, out: Path, archive: ToolArchive, what: str) -> None:
    """Write the chosen members of a tar archive into a ZIP, without the first folder of their paths."""
    total, count = 0, 0
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(tarfile.open(path, "r|*"))
        except tarfile.TarError as error:
            raise FormatError(f"{what} is not a tar archive: {error}") from error
        target = stack.enter_context(zipfile.ZipFile(out, "w", zipfile.ZIP_STORED))
        try:
            for member in source:
                name = member.name.partition("/")[2]
                if not member.isfile() or not is_chosen(name, archive.members, ()):
                    continue
                total, count = total + member.size, count + 1
                if total > _MAX_BYTES or count > _MAX_MEMBERS:
                    raise FormatError(f"{what}: over the limit of {_MAX_MEMBERS} files or {_MAX_BYTES} bytes")
                _safe(name, what)
                opened = source.extractfile(member)
                target.writestr(zipfile.ZipInfo(name, _OLDEST), opened.read() if opened else b"")
        except (tarfile.TarError, EOFError) as error:
            raise FormatError(f"{what} is damaged: {error}") from error
    if not count:
        raise FormatError(f"{what} has none of {', '.join(archive.members)}")


def _safe(name: str, what: str) -> None:
    try:
        check_relative_path(name)
    except ValueError as error:
        raise FormatError(f"{what}: {error}") from None


def with_archive(tool: Tool, pinned: LockedSource | None, name: str, lock: Lock, ports: Ports) -> Tool:
    """Return a tool with its archive, if it has one, unpacked in the store.

    Raises:
        LockError: The tool needs an archive, and the lock pins none.
        LftoolError: As for `unpacked`.
    """
    archive = tool.identity.archive
    if archive is None:
        return tool
    if pinned is None:
        raise LockError(f"tool {name}: the lock pins no archive", hints=("lock again: lftool lock",))
    members = unpacked(archive, pinned, name, lock, ports)
    files = Digest.of(canonical_json([tool.files.hex, members.sha256.hex]))
    return attrs.evolve(tool, files=files, archive=ports.store.blobs.require(members, source_of(name)))
