"""Write a bundle: hash and write the body; once U is known, add signatures and directory; then name the file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, frozen

from lftool.bundle.copying import copy_blob
from lftool.bundle.reader import (
    MAX_MEMBERS,
    MAX_SIGNATURE,
    MAX_SIGNATURES,
    MAX_SMALL_MEMBER,
    manifest_entries,
    signature_path,
)
from lftool.bundle.structure import Arrangement, arrange
from lftool.codec.manifests import emit_manifest
from lftool.errors import FormatError
from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import (
    ROLE_RANK,
    BundleManifest,
    Member,
    Prefix,
    is_large,
    member_order,
)
from lftool.models.run_contract import RunContract

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from lftool.api import LayoutPlan, PlannedMember
    from lftool.bundle.copying import BlobFacts


class Blobs(Protocol):
    """The part of the store that packing uses."""

    def path(self, artifact: Artifact) -> Path:
        """Return the path of a blob."""

    def facts(self, artifact: Artifact) -> BlobFacts:
        """Return the CRC-32 and chunk digests of a blob."""

    def put_bytes(self, data: bytes, what: str) -> Artifact:
        """Store `data`."""


class OutputFile(Protocol):
    """A file that is being written, as `lftool.store.durable` yields it."""

    @property
    def file(self) -> Any:  # noqa: ANN401 - a binary file
        """The open file."""


class Output(Protocol):
    """Where a bundle's bytes are written."""

    def place(self, content: Prefix | Member, offset: int) -> tuple[OutputFile, int]:
        """Return the file for a content, and its place there.

        Args:
            content: The content.
            offset: Its place in the bundle, in bytes.
        """

    def write(self, data: bytes, offset: int) -> None:
        """Take bytes of the bundle that are no content: structure, and the manifest."""

    def complete(self, signatures: Sequence[bytes]) -> None:
        """Called with the signatures once all else is written."""


@frozen
class OneFile:
    """A bundle as one file."""

    out: OutputFile

    def place(self, content: Prefix | Member, offset: int) -> tuple[OutputFile, int]:
        """Return the place in the file, which is that in the bundle."""
        del content
        return self.out, offset

    def write(self, data: bytes, offset: int) -> None:
        """Write bytes to their place."""
        self.out.file.seek(offset)
        self.out.file.write(data)

    def complete(self, signatures: Sequence[bytes]) -> None:
        """Flush the file: signatures are part of what was written."""
        del signatures
        self.out.file.flush()


@frozen(kw_only=True)
class Identity:
    """The fields of a manifest that are not contents."""

    name: str
    version: str
    target: str
    layout: str
    backend: str
    run: RunContract


def chunk_table(plan: LayoutPlan, blobs: Blobs) -> bytes:
    """Return the content of `lftool/chunks`: sha256 per 4 MiB of the prefix, then of each large member in order."""
    ordered = sorted((member for member in plan.members if is_large(member.role)), key=_planned_order)
    artifacts = [plan.prefix.artifact, *(member.artifact for member in ordered)]
    return b"".join(blobs.facts(artifact).chunks for artifact in artifacts)


def _planned_order(member: PlannedMember) -> tuple[int, str]:
    return (ROLE_RANK[member.role], member.path)


def make_manifest(
    identity: Identity, plan: LayoutPlan, documents: Iterable[PlannedMember], blobs: Blobs
) -> BundleManifest:
    """Return the manifest of a layout plan and the small documents beside it.

    Raises:
        FormatError: It would exceed a reader's budget.
    """
    members = [
        Member(
            path=member.path,
            role=member.role,
            size=member.artifact.size,
            sha256=member.artifact.sha256,
            crc32=f"{blobs.facts(member.artifact).crc32:08x}",
        )
        for member in (*plan.members, *documents)
    ]
    for member in members:
        if not is_large(member.role) and member.size > MAX_SMALL_MEMBER:
            raise FormatError(f"{member.path} has {member.size} bytes; a bundle holds at most {MAX_SMALL_MEMBER} of it")
    if len(members) >= MAX_MEMBERS:
        raise FormatError(f"{len(members)} members; a bundle has at most {MAX_MEMBERS}")
    prefix = plan.prefix
    return BundleManifest(
        name=identity.name,
        version=identity.version,
        target=identity.target,
        layout=identity.layout,
        backend=identity.backend,
        prefix=Prefix(
            role=prefix.role,
            size=prefix.artifact.size,
            sha256=prefix.artifact.sha256,
            crc32=f"{blobs.facts(prefix.artifact).crc32:08x}",
        ),
        members=tuple(sorted(members, key=member_order)),
        run=identity.run,
    )


@frozen
class _Pulsing:
    """A hash that calls `pulse` for every piece, so that the build can stop."""

    state: Any
    pulse: Callable[[], None]

    def update(self, data: bytes | memoryview) -> None:
        self.pulse()
        self.state.update(data)

    def hexdigest(self) -> str:
        digest: str = self.state.hexdigest()
        return digest


def signed_tail(manifest: BundleManifest, manifest_bytes: bytes, signatures: Iterable[bytes]) -> tuple[int, bytes, int]:
    """Return what follows the body of a bundle: where it begins, signature members and directory, and the file's size.

    Raises:
        FormatError: There are more signatures, or a larger one, than a reader takes.
    """
    members = sorted((signature_path(data), data) for data in signatures)
    if len(members) > MAX_SIGNATURES:
        raise FormatError(f"{len(members)} signatures: a bundle holds at most {MAX_SIGNATURES}")
    for _, data in members:
        if len(data) > MAX_SIGNATURE:
            raise FormatError(f"a signature of {len(data)} bytes: a bundle holds at most {MAX_SIGNATURE} for each")
    arrangement = arrange(manifest.prefix.size, manifest_entries(manifest, manifest_bytes, members))
    placed = {item.entry.path: item for item in arrangement.members}
    tail = b"".join(placed[path].header + data for path, data in members)
    return arrangement.directory_offset - len(tail), tail + arrangement.directory, arrangement.size


@define
class BundleWriter:
    """One bundle that is being written. Call body first, then finish.

    Attributes:
        manifest: The manifest to write.
        blobs: Holds the contents.
        pulse: Called regularly; an exception that it raises stops the writing.
    """

    manifest: BundleManifest
    blobs: Blobs
    pulse: Callable[[], None] = lambda: None
    _state: Any = None
    _manifest_bytes: bytes = b""

    def _arrange(self, signatures: Sequence[tuple[str, bytes]]) -> Arrangement:
        entries = manifest_entries(self.manifest, self._manifest_bytes, signatures)
        return arrange(self.manifest.prefix.size, entries)

    @property
    def manifest_digest(self) -> Digest:
        """M, the identity of the bundle."""
        return Digest.of(emit_manifest(self.manifest))

    def write_body(self, out: Output) -> Artifact:
        """Write everything but the directory and signatures; return the name of U.

        Raises:
            CorruptBlobError: A blob in the store is corrupted.
            OSError: It cannot be written.
        """
        self._manifest_bytes = emit_manifest(self.manifest)
        self._state = hashlib.sha256()
        arrangement = self._arrange(())
        self._copy(self.manifest.prefix, out, 0, first=True)
        contents: Mapping[str, Member] = {member.path: member for member in self.manifest.members}
        for item in arrangement.members:
            self._write(bytes(item.gap) + item.header, out, item.header_offset - item.gap)
            member = contents.get(item.entry.path)
            if member is None:
                self._write(self._manifest_bytes, out, item.data_offset)
            else:
                self._copy(member, out, item.data_offset)
        unsigned = self._state.copy()
        unsigned.update(arrangement.directory)
        return Artifact(Digest(unsigned.hexdigest()), arrangement.size)

    def _copy(self, content: Prefix | Member, out: Output, offset: int, *, first: bool = False) -> None:
        artifact = content.artifact
        written, place = out.place(content, offset)
        written.file.flush()
        facts = self.blobs.facts(artifact)
        hasher = _Pulsing(self._state, self.pulse)
        copy_blob(self.blobs.path(artifact), artifact, facts, written.file.fileno(), place, hasher, first=first)

    def _write(self, data: bytes, out: Output, offset: int) -> None:
        out.write(data, offset)
        self._state.update(data)

    def finish(self, out: Output, signatures: Sequence[bytes]) -> Artifact:
        """Write signature members and the directory; return the name of the whole file: S, or U without signatures.

        Raises:
            FormatError: A signature exceeds a reader's budget.
            OSError: It cannot be written.
        """
        offset, tail, size = signed_tail(self.manifest, self._manifest_bytes, signatures)
        self._write(tail, out, offset)
        out.complete(signatures)
        return Artifact(Digest(self._state.hexdigest()), size)
