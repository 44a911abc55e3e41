"""Vendor folders and archives: blobs by digest, in a folder or in one deterministic `.tar.zst`.

The archive is a tar of the folder (pax format, sorted, constant owner, mode and time), compressed with zstandard level
3 in one thread, since the bytes differ between thread modes. The same blobs give the same bytes with the same version
of libzstd; the digests of the blobs do not depend on it.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.errors import FormatError, StorageError
from lftool.models.digest import Artifact, Digest
from lftool.store.actions import decode_outputs, encode_outputs
from lftool.store.contained import Contained
from lftool.store.durable import durable_file, storage_errors
from lftool.store.hashing import read_chunks

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.store.cas import ContentStore

ARCHIVE_SUFFIX = ".tar.zst"
_BLOBS, _RECORDS = "cas-v1", "ac-v2"
_MOST_RECORD_BYTES = 64 * 1024
_LEVEL = 3
_MODE = 0o444


def blob_name(artifact: Artifact) -> str:
    """Return the path of a blob in a vendor folder or archive."""
    return f"{_BLOBS}/{artifact.sha256.hex[:2]}/{artifact.sha256.hex[2:]}"


def record_name(action: Digest) -> str:
    """Return the path of an action record in a vendor folder or archive."""
    return f"{_RECORDS}/{action.hex[:2]}/{action.hex[2:]}"


def write_folder(
    folder: Path, artifacts: Iterable[Artifact], records: Mapping[Digest, Mapping[str, Artifact]], blobs: ContentStore
) -> None:
    """Write blobs and records to a folder; keeps blobs that are already there with the right size.

    Raises:
        StorageError: A blob is not in the store, or cannot be written.
        IntegrityError: A blob is corrupted.
    """
    for artifact in artifacts:
        destination = folder / blob_name(artifact)
        if destination.is_file() and destination.stat().st_size == artifact.size:
            continue
        source = blobs.require(artifact, "a file to vendor")
        with durable_file(destination.parent, "extract") as out, source.open("rb") as opened:
            shutil.copyfileobj(opened, out.file, 1 << 20)
            out.commit(destination, mode=_MODE)
    for action, outputs in records.items():
        destination, data = folder / record_name(action), encode_outputs(outputs)
        if not (destination.is_file() and destination.read_bytes() == data):
            with durable_file(destination.parent, "extract") as out:
                out.file.write(data)
                out.commit(destination, mode=_MODE)


def write_archive(
    path: Path, artifacts: Iterable[Artifact], records: Mapping[Digest, Mapping[str, Artifact]], blobs: ContentStore
) -> None:
    """Write blobs and records to one archive, which appears once it is complete.

    Raises:
        StorageError: A blob is not in the store, or the archive cannot be written.
        IntegrityError: A blob is corrupted.
    """
    import zstandard

    with durable_file(path.absolute().parent, "extract") as out:
        compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=0, write_checksum=True)
        with (
            compressor.stream_writer(out.file, closefd=False) as packed,
            tarfile.open(mode="w|", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
        ):
            for action in sorted(records, key=lambda item: item.hex):  # ac-v2/ before cas-v1/
                data = encode_outputs(records[action])
                entry = tarfile.TarInfo(record_name(action))
                entry.size, entry.mode = len(data), _MODE
                archive.addfile(entry, io.BytesIO(data))
            for artifact in sorted(artifacts):
                entry = tarfile.TarInfo(blob_name(artifact))
                entry.size, entry.mode = artifact.size, _MODE
                with blobs.require(artifact, "a file to vendor").open("rb") as opened:
                    archive.addfile(entry, opened)
        out.commit(path.absolute(), mode=0o644)


def _digest_of(name: str, kind: str) -> Digest | None:
    parts = name.split("/")
    if len(parts) != 3 or parts[0] != kind:  # noqa: PLR2004 - cas-v1 or ac-v2, two digits, the rest
        return None
    try:
        return Digest(parts[1] + parts[2])
    except ValueError:
        return None


Entry = tuple[str, int, "Iterator[bytes]"]


def _in_archive(path: Path) -> Iterator[Entry]:
    """Yield the name, size and bytes of every file."""
    import zstandard

    try:
        with (
            path.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(mode="r|", fileobj=io.BufferedReader(plain, 1 << 20)) as archive,
        ):
            for entry in archive:
                known = _digest_of(entry.name, _BLOBS) or _digest_of(entry.name, _RECORDS)
                opened = archive.extractfile(entry) if entry.isreg() and known is not None else None
                if opened is None:
                    raise FormatError(f"{path}: {entry.name!r} is not a blob; not an archive from `lftool vendor`")
                yield entry.name, entry.size, (bytes(piece) for piece in read_chunks(opened, entry.size))  # type: ignore[arg-type]  # a binary file
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise FormatError(f"{path} is not an archive from `lftool vendor`, or is truncated: {error}") from error


def _in_folder(path: Path) -> Iterator[Entry]:
    """Yield the name, size and bytes of every file; opens only regular files in the folder itself."""
    folder = Contained(path)
    for kind in (_BLOBS, _RECORDS):
        for found in sorted((path / kind).glob("??/*")):
            name = found.relative_to(path).as_posix()
            if _digest_of(name, kind) is not None:
                with folder.open_file(name) as file:
                    yield name, os.fstat(file.fileno()).st_size, (bytes(piece) for piece in read_chunks(file))


@frozen(kw_only=True)
class TakenIn:
    """The result of reading a vendor folder or archive.

    Attributes:
        blobs: The number of new blobs.
        records: Its records, by action.
        found: Blobs that were wanted by digest alone.
    """

    blobs: int
    records: Mapping[Digest, Mapping[str, Artifact]]
    found: tuple[Artifact, ...] = ()


def take_in(path: Path, wanted: Iterable[Artifact], blobs: ContentStore, digests: Iterable[Digest] = ()) -> TakenIn:
    """Import wanted blobs that are missing from the store from a vendor folder or archive, and read its records.

    Args:
        path: The folder or archive.
        wanted: The blobs.
        blobs: The store.
        digests: Blobs of unknown size that are wanted too.

    Raises:
        StorageError: The source cannot be read, or the store cannot be written.
        FormatError: It is not a vendor folder or archive.
        IntegrityError: A blob does not match its name; it is not stored.
    """
    missing = {artifact for artifact in wanted if not blobs.is_sound(artifact)}
    if not path.exists():
        raise StorageError(f"there is no {path}", hints=("make one: lftool vendor PATH",))
    count, records, also, found = 0, {}, frozenset(digests), list[Artifact]()
    with storage_errors("read", path):
        for name, size, pieces in _in_folder(path) if path.is_dir() else _in_archive(path):
            sha256, action = _digest_of(name, _BLOBS), _digest_of(name, _RECORDS)
            artifact = None if sha256 is None else Artifact(sha256, size)
            if artifact is not None and artifact.sha256 in also:
                found.append(artifact)
            if artifact is not None and (artifact in missing or artifact.sha256 in also):
                if not blobs.is_sound(artifact):
                    blobs.put(pieces, f"{path}: {name}", expected=artifact)
                    count += 1
            elif action is not None and size <= _MOST_RECORD_BYTES:
                said = decode_outputs(b"".join(pieces))
                if said is not None:
                    records[action] = said
    return TakenIn(blobs=count, records=records, found=tuple(found))
