"""Vendor folders and archives: blobs by digest, in a folder or in one deterministic `.tar.zst`.

The archive is a tar of the folder (pax format, sorted, constant owner, mode and time) compressed by one writer: zstandard,
level 3, without threads, since the bytes differ between thread modes. The same blobs give the same bytes, as long as the
version of libzstd is the same; the digests of the blobs do not depend on it.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from typing import TYPE_CHECKING

from lftool.errors import FormatError, StorageError
from lftool.models.digest import Artifact, Digest
from lftool.store.durable import durable_file, storage_errors
from lftool.store.hashing import read_chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from lftool.store.cas import ContentStore

ARCHIVE_SUFFIX = ".tar.zst"
_BLOBS = "cas-v1"
_LEVEL = 3
_MODE = 0o444


def blob_name(artifact: Artifact) -> str:
    """Return the path of a blob within a vendor folder or archive."""
    return f"{_BLOBS}/{artifact.sha256.hex[:2]}/{artifact.sha256.hex[2:]}"


def write_folder(folder: Path, artifacts: Iterable[Artifact], blobs: ContentStore) -> None:
    """Write blobs into a folder; those that are there already, of the right size, are kept.

    Raises:
        StorageError: One is not in the store, or it cannot be written.
        IntegrityError: One was corrupted.
    """
    for artifact in artifacts:
        destination = folder / blob_name(artifact)
        if destination.is_file() and destination.stat().st_size == artifact.size:
            continue
        source = blobs.require(artifact, "a file to vendor")
        with durable_file(destination.parent, "extract") as out, source.open("rb") as opened:
            shutil.copyfileobj(opened, out.file, 1 << 20)
            out.commit(destination, mode=_MODE)


def write_archive(path: Path, artifacts: Iterable[Artifact], blobs: ContentStore) -> None:
    """Write blobs into one archive; it appears when it is whole.

    Raises:
        StorageError: One is not in the store, or it cannot be written.
        IntegrityError: One was corrupted.
    """
    import zstandard

    with durable_file(path.absolute().parent, "extract") as out:
        compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=0, write_checksum=True)
        with (
            compressor.stream_writer(out.file, closefd=False) as packed,
            tarfile.open(mode="w|", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
        ):
            for artifact in sorted(artifacts):
                entry = tarfile.TarInfo(blob_name(artifact))
                entry.size, entry.mode = artifact.size, _MODE
                with blobs.require(artifact, "a file to vendor").open("rb") as opened:
                    archive.addfile(entry, opened)
        out.commit(path.absolute(), mode=0o644)


def _artifact_of(name: str, size: int) -> Artifact | None:
    parts = name.split("/")
    if len(parts) != 3 or parts[0] != _BLOBS:  # noqa: PLR2004 - cas-v1, two digits, the rest
        return None
    try:
        return Artifact(Digest(parts[1] + parts[2]), size)
    except ValueError:
        return None


def _in_archive(path: Path) -> Iterator[tuple[Artifact, Iterator[bytes]]]:
    import zstandard

    try:
        with (
            path.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(mode="r|", fileobj=io.BufferedReader(plain, 1 << 20)) as archive,
        ):
            for entry in archive:
                artifact = _artifact_of(entry.name, entry.size) if entry.isreg() else None
                if artifact is None:
                    raise FormatError(f"{path}: {entry.name!r} is no blob; this is no archive of `lftool vendor`")
                opened = archive.extractfile(entry)
                if opened is not None:
                    yield artifact, (bytes(piece) for piece in read_chunks(opened, artifact.size))  # type: ignore[arg-type]  # a binary file
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise FormatError(f"{path} is no archive of `lftool vendor`, or is truncated: {error}") from error


def _in_folder(path: Path) -> Iterator[tuple[Artifact, Iterator[bytes]]]:
    for found in sorted((path / _BLOBS).glob("??/*")):
        artifact = _artifact_of(found.relative_to(path).as_posix(), found.stat().st_size)
        if artifact is not None:
            with found.open("rb") as file:
                yield artifact, (bytes(piece) for piece in read_chunks(file))


def take_in(path: Path, wanted: Iterable[Artifact], blobs: ContentStore) -> int:
    """Bring wanted blobs that are missing from a vendor folder or archive into the store; return how many came.

    Raises:
        StorageError: It cannot be read, or the store cannot be written.
        FormatError: It is no vendor folder or archive.
        IntegrityError: A blob is not what its name says; it is not stored.
    """
    missing = {artifact for artifact in wanted if not blobs.is_sound(artifact)}
    if not missing:
        return 0
    if not path.exists():
        raise StorageError(f"there is no {path}", hints=("make one: lftool vendor PATH",))
    count = 0
    with storage_errors("read", path):
        for artifact, pieces in _in_folder(path) if path.is_dir() else _in_archive(path):
            if artifact in missing:
                blobs.put(pieces, f"{path}: {blob_name(artifact)}", expected=artifact)
                count += 1
    return count
