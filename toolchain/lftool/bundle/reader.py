"""Read a bundle strictly: parse within budgets, regenerate every structural byte, compare.

The result is a view whose structure is canonical and agrees with its manifest. It has not hashed any contents
(`contents.py`) or checked any signature (`lftool.trust`).
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from attrs import frozen

from lftool.bundle.extents import Extents
from lftool.bundle.structure import (
    END64_SIZE,
    END_SIZE,
    LOCATOR_SIZE,
    Arrangement,
    DirectoryEntry,
    Entry,
    Placed,
    arrange,
    local_header,
    parse_directory,
    parse_end,
)
from lftool.codec.manifests import parse_manifest
from lftool.errors import FormatError, StorageError
from lftool.formats.gguf_read import read_gguf
from lftool.formats.recognised import HEAD_BYTES, is_text, recognised
from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import (
    MANIFEST_PATH,
    PROVENANCE_PATH,
    RECIPE_PATH,
    SBOM_PATH,
    SIGNATURE_PREFIX,
    BundleManifest,
    is_large,
)
from lftool.store.checksums import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence


class PlainGGUFError(FormatError):
    """The file is a GGUF, and no bundle."""


MAX_DIRECTORY = 16 * 1024 * 1024
MAX_MEMBERS = 16_384
MAX_MANIFEST = 16 * 1024 * 1024
MAX_SIGNATURE = 64 * 1024
MAX_SIGNATURES = 64
MAX_SMALL_MEMBER = 64 * 1024 * 1024
# Parsing takes seconds, and many times the size in memory. A signature, at most 64 KiB, repeats the provenance.
MAX_DOCUMENTS = {RECIPE_PATH: 1024 * 1024, PROVENANCE_PATH: 1024 * 1024, SBOM_PATH: 8 * 1024 * 1024}


@frozen(kw_only=True)
class Bundle:
    """A bundle whose structure has been checked. The caller closes its files.

    Attributes:
        extents: Its bytes.
        name: Name of its file, for messages.
        status: Of its file when it was opened; of the sidecar if it is detached.
        detached: Whether its bytes lie in several files.
    """

    extents: Extents
    name: str
    status: os.stat_result
    manifest: BundleManifest
    manifest_bytes: bytes
    arrangement: Arrangement
    signatures: tuple[bytes, ...]
    detached: bool = False

    @property
    def descriptor(self) -> int | None:
        """The open file, if the bundle is one file."""
        return None if self.detached else self.extents.parts[0].descriptor

    def read(self, position: int, size: int) -> bytes:
        """Return bytes of the bundle.

        Raises:
            FormatError: It ends too early.
            StorageError: It cannot be read.
        """
        return self.extents.read(position, size, self.name)

    @property
    def manifest_digest(self) -> Digest:
        """M, the identity of the bundle."""
        return Digest.of(self.manifest_bytes)

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self.arrangement.size

    def placed(self, path: str) -> Placed:
        """Return the position of the member at `path`.

        Raises:
            KeyError: There is no such member.
        """
        return self._by_path[path]

    @cached_property
    def _by_path(self) -> dict[str, Placed]:
        return {item.entry.path: item for item in self.arrangement.members}

    def weights_extent(self) -> tuple[int, int]:
        """Return (offset, size) of the weights in the file, in bytes."""
        weights = self.manifest.weights
        if weights is self.manifest.prefix:
            return 0, weights.size
        return self.placed(weights.path).data_offset, weights.size  # type: ignore[union-attr]  # not the prefix, so a member

    def weights_file(self) -> tuple[int, int]:
        """Return the open file that has the weights, and where in it they begin."""
        extent, inside = self.extents.at(self.weights_extent()[0])
        assert extent.descriptor is not None  # noqa: S101 - weights are never generated
        return extent.descriptor, extent.start + inside

    def read_member(self, path: str) -> bytes:
        """Return the content of a small member, checked against the manifest.

        Raises:
            FormatError: It does not match the manifest.
        """
        item = self.placed(path)
        most = MAX_DOCUMENTS.get(path, MAX_SMALL_MEMBER)
        if item.entry.size > most:
            raise FormatError(f"{self.name}: {path} has {item.entry.size} bytes, at most {most} are allowed")
        data = self.read(item.data_offset, item.entry.size)
        member = self.manifest.member(path)
        if member is not None and Artifact.of(data) != member.artifact:
            raise FormatError(f"{self.name}: {path} is not what the manifest names")
        return data

    def unsigned_arrangement(self) -> Arrangement:
        """Return the arrangement of U: this one without signature members."""
        kept = [item.entry for item in self.arrangement.members if not item.entry.path.startswith(SIGNATURE_PREFIX)]
        return arrange(self.manifest.prefix.size, kept)


def read_exactly(descriptor: int, offset: int, size: int, what: str) -> bytes:
    """Return `size` bytes at `offset`.

    Raises:
        FormatError: The file ends too early.
        StorageError: It cannot be read.
    """
    pieces = []
    while size:
        try:
            piece = os.pread(descriptor, size, offset)
        except OSError as error:
            raise StorageError(f"cannot read {what}: {error.strerror}") from error
        if not piece:
            raise FormatError(f"{what}: ends unexpectedly at byte {offset}")
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)


def manifest_entries(
    manifest: BundleManifest, manifest_bytes: bytes, signatures: Sequence[tuple[str, bytes]]
) -> list[Entry]:
    """Return the archive entries of a bundle, in order: members, the manifest, signatures."""
    entries = [
        Entry(path=member.path, size=member.size, crc32=int(member.crc32, 16), aligned=is_large(member.role))
        for member in manifest.members
    ]
    small = [(MANIFEST_PATH, manifest_bytes), *signatures]
    return entries + [Entry(path=path, size=len(data), crc32=crc32(data), aligned=False) for path, data in small]


def signature_path(data: bytes) -> str:
    """Return the member path of a signature: the first 16 hex digits of its sha256."""
    return f"{SIGNATURE_PREFIX}{Digest.of(data).hex[:16]}.json"


class Framing:
    """Parses one file; every refusal names it."""

    def __init__(self, descriptor: int, name: str, noun: str = "a bundle") -> None:
        self.descriptor = descriptor
        self.name = name
        self.noun = noun
        self.status = os.fstat(descriptor)
        self.size = self.status.st_size

    def fail(self, message: str) -> NoReturn:
        """Refuse the file."""
        raise FormatError(f"{self.name}: not {self.noun}: {message}")

    def fail_as_recognised(self, message: str) -> NoReturn:
        """Refuse a file that does not end like a bundle; name its actual type if known."""
        head = read_exactly(self.descriptor, 0, min(self.size, HEAD_BYTES), self.name)
        if head.startswith(b"GGUF") and self._is_sound_gguf():
            raise PlainGGUFError(
                f"{self.name}: a plain GGUF, not a bundle: nothing in it says who made it or from what",
                hints=(f"make a bundle of it: lftool pack {self.name}",),
            )
        found = recognised(head, self.size)
        if found is not None:
            raise FormatError(f"{self.name}: {found.noun}", hints=(found.hint,))
        if is_text(head):
            raise FormatError(f"{self.name}: a text file, neither a bundle nor a GGUF")
        self.fail(message)

    def _is_sound_gguf(self) -> bool:
        """Return whether the file is a GGUF from its first byte to its last; a damaged bundle is none."""
        try:
            with open(self.descriptor, "rb", closefd=False) as file:
                read_gguf(file, self.size, self.name)
        except (FormatError, OSError):
            return False
        return True

    def directory(self) -> list[DirectoryEntry]:
        """Return the central records, within budgets."""
        tail_size = min(self.size, END64_SIZE + LOCATOR_SIZE + END_SIZE)
        tail = read_exactly(self.descriptor, self.size - tail_size, tail_size, self.name)
        try:
            offset, size, count = parse_end(tail, self.size)
        except ValueError as error:
            self.fail_as_recognised(str(error))
        if size > MAX_DIRECTORY or count > MAX_MEMBERS:
            self.fail(
                f"a directory of {size} bytes and {count} members, at most {MAX_DIRECTORY} and {MAX_MEMBERS} are allowed"
            )
        try:
            return parse_directory(read_exactly(self.descriptor, offset, size, self.name), count)
        except ValueError as error:
            self.fail(str(error))

    def content(self, found: DirectoryEntry, most: int) -> bytes:
        """Return the content of a member of at most `most` bytes, before its place has been checked."""
        if found.size > most:
            self.fail(f"{found.path} has {found.size} bytes, at most {most} are allowed")
        if found.offset >= self.size:
            self.fail(f"{found.path} should be at byte {found.offset}, but the file has {self.size} bytes")
        header = local_header(Entry(path=found.path, size=found.size, crc32=found.crc32, aligned=False))
        return read_exactly(self.descriptor, found.offset + len(header), found.size, self.name)

    def compare(self, arrangement: Arrangement) -> None:
        """Compare every structural byte with the regenerated one."""
        if arrangement.size != self.size:
            self.fail(f"{self.size} bytes, but its manifest describes {arrangement.size}")
        for item in arrangement.members:
            start = item.header_offset - item.gap
            expected = bytes(item.gap) + item.header
            if read_exactly(self.descriptor, start, len(expected), self.name) != expected:
                self.fail(f"the local header of {item.entry.path}, or the gap before it, is not canonical")
        offset = arrangement.directory_offset
        if read_exactly(self.descriptor, offset, self.size - offset, self.name) != arrangement.directory:
            self.fail("the directory is not canonical")


@frozen(kw_only=True)
class Documents:
    """What an archive says about itself, within budgets, before its structure is compared."""

    manifest: BundleManifest
    manifest_bytes: bytes
    signatures: tuple[tuple[str, bytes], ...]

    def entries(self) -> list[Entry]:
        """Return the entries of the bundle, in order."""
        return manifest_entries(self.manifest, self.manifest_bytes, self.signatures)


def read_documents(framing: Framing) -> Documents:
    """Return the manifest and signatures of an archive.

    Raises:
        FormatError: There is none, or they are over a budget.
        StorageError: It cannot be read.
    """
    found = framing.directory()
    inner = [entry for entry in found if not entry.path.startswith(SIGNATURE_PREFIX)]
    if not inner or inner[-1].path != MANIFEST_PATH:
        framing.fail(f"it has no {MANIFEST_PATH} where one must be")
    signed = found[len(inner) :]
    if len(signed) > MAX_SIGNATURES or any(not entry.path.startswith(SIGNATURE_PREFIX) for entry in signed):
        framing.fail(f"signatures must be the last members, at most {MAX_SIGNATURES}")
    manifest_bytes = framing.content(inner[-1], MAX_MANIFEST)
    manifest = parse_manifest(manifest_bytes, f"{framing.name}: {MANIFEST_PATH}")
    for member in manifest.members:
        if not is_large(member.role) and member.size > MAX_SMALL_MEMBER:
            framing.fail(f"{member.path} has {member.size} bytes, at most {MAX_SMALL_MEMBER} are allowed for its role")
    signatures = [(entry.path, framing.content(entry, MAX_SIGNATURE)) for entry in signed]
    paths = [path for path, _ in signatures]
    if paths != sorted(set(paths)) or any(path != signature_path(data) for path, data in signatures):
        framing.fail("signature members must be named by their sha256, and sorted")
    return Documents(manifest=manifest, manifest_bytes=manifest_bytes, signatures=tuple(signatures))


def read_bundle(descriptor: int, name: str) -> Bundle:
    """Return a checked view of the bundle behind an open file descriptor.

    Args:
        descriptor: Open for reading. After verification, use the file only through this descriptor.
        name: Name of the file, for messages.

    Raises:
        FormatError: Not a bundle, not canonical, or over a budget.
        StorageError: It cannot be read.
    """
    framing = Framing(descriptor, name)
    documents = read_documents(framing)
    arrangement = arrange(documents.manifest.prefix.size, documents.entries())
    framing.compare(arrangement)
    return Bundle(
        extents=Extents.of_file(descriptor, framing.size),
        name=name,
        status=framing.status,
        manifest=documents.manifest,
        manifest_bytes=documents.manifest_bytes,
        arrangement=arrangement,
        signatures=tuple(data for _, data in documents.signatures),
    )
