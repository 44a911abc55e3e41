"""The content-addressed store: blobs under (sha256, size), checked before use, quarantined if corrupted."""

from __future__ import annotations

import contextlib
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

from lftool.errors import IntegrityError, StorageError
from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import CHUNK_SIZE
from lftool.store.cloning import clone_or_copy
from lftool.store.durable import durable_file, storage_errors, write_durably
from lftool.store.hashing import Blob, BlobHasher, Facts, hash_pieces, name_of, read_chunks
from lftool.store.stamps import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from lftool.store.stamps import Stamps

_CRC_BYTES = 4
_DIGEST_BYTES = 32
_KIND = "blob"


class MissingBlobError(StorageError):
    """A blob is missing from the store; the step that made it can make it again."""

    code = "missing-blob"

    def __init__(self, artifact: Artifact, message: str) -> None:
        super().__init__(message)
        self.artifact = artifact


class CorruptBlobError(IntegrityError):
    """A blob in the store does not match its name; the step that made it can make it again."""

    code = "corrupt-blob"

    def __init__(self, artifact: Artifact, message: str) -> None:
        super().__init__(message)
        self.artifact = artifact


def _same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether two stats are of one file; the inode number is not enough, since a new file may reuse it."""
    return (one.st_dev, one.st_ino, one.st_ctime_ns) == (other.st_dev, other.st_ino, other.st_ctime_ns)


class ContentStore:
    """Blobs by digest, under `root`; temporary files under `temporary`, on the same file system."""

    def __init__(self, root: Path, temporary: Path, quarantine: Path, stamps: Stamps) -> None:
        self._root = root
        self._temporary = temporary
        self._quarantine = quarantine
        self._stamps = stamps
        # What this process wrote and hashed, or read and checked: too young for a stamp, which outlives the process.
        self._seen: dict[Artifact, dict[str, int]] = {}

    def path(self, artifact: Artifact) -> Path:
        """Return the path of the artifact, present or not."""
        name = artifact.sha256.hex
        return self._root / name[:2] / name[2:]

    def _facts_path(self, artifact: Artifact) -> Path:
        return self.path(artifact).with_suffix(".facts")

    def holds(self, artifact: Artifact) -> bool:
        """Return whether a blob of that digest and size is present, without reading it."""
        try:
            return self.path(artifact).stat().st_size == artifact.size
        except OSError:
            return False

    def put(
        self,
        pieces: Iterable[bytes | memoryview],
        what: str,
        *,
        expected: Artifact | None = None,
        size: int | None = None,
        sha256: Digest | None = None,
        sync: bool = True,
    ) -> Artifact:
        """Store a stream, hashing it while writing.

        Args:
            pieces: The content.
            what: Description for messages.
            expected: The required digest and size; a byte too many ends the transfer immediately.
            size: The required size, if the digest is unknown.
            sha256: The required digest, if the size is unknown.
            sync: Whether it must survive a power cut; what can be fetched again need not (docs/adr/0008).

        Raises:
            IntegrityError: The size or digest is wrong; nothing is stored.
            StorageError: It could not be written; nothing is stored.
        """
        most = expected.size if expected else size
        with durable_file(self._temporary, "blob") as out, BlobHasher() as hasher:
            for piece in pieces:
                if most is not None and hasher.size + len(piece) > most:
                    raise IntegrityError(f"{what}: more than the expected {most} bytes")
                hasher.update(piece)
                out.file.write(piece)
            blob = hasher.finish()
            if expected is not None:
                expected.require(blob.artifact, what)
            if size is not None and blob.artifact.size != size:
                raise IntegrityError(f"{what}: {blob.artifact.size} bytes arrived, the source announced {size}")
            if sha256 is not None and blob.artifact.sha256 != sha256:
                raise IntegrityError(f"{what}: expected sha256 {sha256}, got {blob.artifact.sha256}")
            out.commit(self.path(blob.artifact), sync=sync)
        self._wrote(blob)
        return blob.artifact

    def put_bytes(self, data: bytes, what: str) -> Artifact:
        """Store `data`, unless it is already there."""
        artifact = Artifact.of(data)
        try:
            if self.path(artifact).read_bytes() == data:
                self.touch(artifact)
                return artifact
        except OSError:
            pass
        return self.put([data], what, expected=artifact)

    def put_with(self, write: Callable[[Path], None], check: Callable[[Path], None]) -> Artifact:
        """Store a file that `write` creates at the path it is given, once `check` has accepted it.

        The file is hashed after `check`, made read-only and durable, and renamed. It is never copied.
        """
        with durable_file(self._temporary, "blob") as out:
            write(out.path)
            check(out.path)
            with storage_errors("read", out.path), out.path.open("rb") as made, ThreadPoolExecutor(1) as disk:
                written = disk.submit(os.fsync, made.fileno())  # flushed to disk while it is hashed
                blob = hash_pieces(read_chunks(made))
                written.result()
            out.commit(self.path(blob.artifact))
        self._wrote(blob)
        return blob.artifact

    def put_hashed(self, write: Callable[[BinaryIO], Blob]) -> Artifact:
        """Store a file that `write` writes, and hashes while it does.

        Raises:
            StorageError: It could not be written; nothing is stored.
        """
        with durable_file(self._temporary, "blob") as out:
            blob = write(out.file)
            out.commit(self.path(blob.artifact))
        self._wrote(blob)
        return blob.artifact

    def put_copy(self, source: Path, expected: Artifact) -> None:
        """Store a copy of a file from outside the store, if it matches `expected`.

        Raises:
            IntegrityError: It does not match; nothing is stored.
            OSError: It cannot be read.
            StorageError: It could not be written.
        """
        with durable_file(self._temporary, "blob") as out:
            with source.open("rb") as opened:
                clone_or_copy(opened, out.file)
            with out.path.open("rb") as made:
                blob = hash_pieces(read_chunks(made))
            expected.require(blob.artifact, str(source))
            out.commit(self.path(expected))
        self._wrote(blob)

    def put_unpacked(self, pieces: Iterable[memoryview], what: str, expected: Artifact) -> None:
        """Store a stream that no bundle will contain: its facts are left to `facts`, which would read it again.

        It is not synced (docs/adr/0008).

        Args:
            pieces: The content.
            what: Description for messages.
            expected: The required digest and size.

        Raises:
            IntegrityError: The size or digest is wrong; nothing is stored.
            StorageError: It could not be written; nothing is stored.
        """
        with durable_file(self._temporary, "blob") as out:
            expected.require(name_of(pieces, out.file.write), what)
            out.commit(self.path(expected), sync=False)
        self._saw(expected)

    def adopt(self, path: Path, artifact: Artifact) -> None:
        """Move a file that has just been hashed into the store as the blob of that name.

        It is renamed, not synced. After a power cut the blob may hold other bytes, which the check before use finds.
        Only a blob that was synced gets a stamp (docs/adr/0008).

        Args:
            path: A file on the same file system as the store.
            artifact: Its digest and size; like every blob, it is checked again before use.

        Raises:
            StorageError: It could not be written.
        """
        destination = self.path(artifact)
        with storage_errors("write", destination):
            path.chmod(0o444)
            destination.parent.mkdir(parents=True, exist_ok=True)
            path.replace(destination)

    def _wrote(self, blob: Blob) -> None:
        """Note that a blob was hashed and written by this process."""
        self._write_facts(blob)
        self._saw(blob.artifact)

    def _saw(self, artifact: Artifact) -> None:
        with contextlib.suppress(OSError):
            self._seen[artifact] = identity(self.path(artifact).stat())

    def _write_facts(self, blob: Blob) -> None:
        data = blob.facts.crc32.to_bytes(_CRC_BYTES, "big") + blob.facts.chunks
        data += hashlib.sha256(data).digest()  # a bundle's table of chunks is made of them
        write_durably(self._facts_path(blob.artifact), data, "facts", mode=0o600, temporary=self._temporary)

    def facts(self, artifact: Artifact) -> Facts:
        """Return the CRC-32 and chunk digests of a blob, from the file next to it, if that is sound, or by reading the blob.

        Raises:
            IntegrityError: The blob does not match its name.
            StorageError: It is missing.
        """
        chunks = -(-artifact.size // CHUNK_SIZE)
        try:
            data = self._facts_path(artifact).read_bytes()
        except OSError:
            data = b""
        content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        if len(content) == _CRC_BYTES + chunks * _DIGEST_BYTES and hashlib.sha256(content).digest() == digest:
            return Facts(crc32=int.from_bytes(content[:_CRC_BYTES], "big"), chunks=content[_CRC_BYTES:])
        return self.check(artifact).facts

    def check(self, artifact: Artifact) -> Blob:
        """Read a whole blob, rewrite its facts, and quarantine it if it does not match its name.

        Raises:
            CorruptBlobError: The digest or size is wrong; the blob has been quarantined.
            StorageError: It is missing or cannot be read.
        """
        path = self.path(artifact)
        with storage_errors("read", path), path.open("rb") as file:
            before = os.fstat(file.fileno())
            blob = hash_pieces(read_chunks(file))
            os.fsync(file.fileno())  # a stamp survives a power cut, so the blob must too
            after = os.fstat(file.fileno())
        if blob.artifact != artifact:
            self.quarantine(artifact, before)
            try:
                artifact.require(blob.artifact, f"the cached blob {path} was corrupted and has been set aside")
            except IntegrityError as error:
                raise CorruptBlobError(artifact, error.message) from None
        self._write_facts(blob)
        if identity(before) == identity(after):
            self._seen[artifact] = identity(after)
        self._stamps.remember(before, after, _KIND, {"sha256": artifact.sha256.hex})
        return blob

    def require(self, artifact: Artifact, what: str) -> Path:
        """Return the path of a blob whose content is checked: now, or earlier if the file has not changed since.

        Raises:
            CorruptBlobError: The content is wrong; the blob has been quarantined.
            MissingBlobError: It is missing.
        """
        path = self.path(artifact)
        try:
            status = path.stat()
        except OSError:
            raise MissingBlobError(artifact, f"{what} is not in the store ({path})") from None
        if self._seen.get(artifact) != identity(status):
            known = self._stamps.recall(status, _KIND)
            if status.st_size != artifact.size or known is None or known.get("sha256") != artifact.sha256.hex:
                self.check(artifact)
        self.touch(artifact)
        return path

    def is_sound(self, artifact: Artifact) -> bool:
        """Return whether the blob is present and matches its name; quarantines it if corrupted."""
        try:
            self.require(artifact, "blob")
        except (StorageError, IntegrityError):
            return False
        return True

    def touch(self, artifact: Artifact, when: float | None = None) -> None:
        """Record that the blob was used, for garbage collection; does not change the blob's timestamps.

        Args:
            artifact: The blob's name.
            when: Seconds since the epoch; None means now.
        """
        try:
            os.utime(self._facts_path(artifact), None if when is None else (when, when))
        except OSError:
            return

    def quarantine(self, artifact: Artifact, seen: os.stat_result) -> None:
        """Take a corrupted blob out of use, but keep it for inspection.

        Args:
            artifact: The blob's name.
            seen: The file found to be corrupted; if another process has replaced it since, the new file stays.
        """
        path = self.path(artifact)
        with storage_errors("set aside", path):
            self._quarantine.mkdir(parents=True, exist_ok=True)
            if path.exists() and _same_file(path.stat(), seen):
                path.replace(self._quarantine / artifact.sha256.hex)  # failpoints: not a durable write, see check()
            self._facts_path(artifact).unlink(missing_ok=True)

    def remove(self, artifact: Artifact) -> None:
        """Delete a blob."""
        self._facts_path(artifact).unlink(missing_ok=True)
        self.path(artifact).unlink(missing_ok=True)

    def blobs(self) -> Iterator[tuple[Artifact, float]]:
        """Yield every blob and the time of its last use (seconds since the epoch), sorted by digest."""
        for folder in sorted(self._root.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                if path.suffix:
                    continue
                try:
                    artifact = Artifact(Digest(folder.name + path.name), path.stat().st_size)
                    used = self._facts_path(artifact)
                    yield artifact, (used if used.exists() else path).stat().st_mtime
                except (OSError, ValueError):
                    continue  # removed in the meantime, or not ours
