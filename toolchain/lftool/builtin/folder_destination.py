"""`lftool push file:FOLDER`: a folder, such as one that a web server shows."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from lftool.api import Digest, FetchError, UsageError, plan_files, publish_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lftool.api import DestinationContext, Publication, PublicationPlan, Published, Uploading


class Folder:
    """Files in a folder. Their digests are known by reading them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, path: str) -> tuple[int, Digest | None] | None:
        """Return size and digest of a file; None if there is none."""
        place = self._folder / path
        if not os.path.lexists(place):
            return None
        try:
            with place.open("rb") as file:
                return os.fstat(file.fileno()).st_size, Digest(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise FetchError(f"cannot read {place}: {error.strerror}") from error

    def read(self, path: str) -> bytes | None:
        """Return a file; None if there is none."""
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FetchError(f"cannot read {self._folder / path}: {error.strerror}") from error

    def write(self, path: str, content: Callable[[], Iterator[bytes]], size: int, sha256: Digest) -> None:
        """Write a file, and name it once it is on the disk.

        Raises:
            FetchError: It cannot be written.
        """
        del size
        place = self._folder / path
        part = place.with_name(f".{place.name}.part")  # the next push takes what a killed one has left
        state = hashlib.sha256()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                for piece in content():
                    state.update(piece)
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            if state.hexdigest() != sha256.hex:
                raise FetchError(f"{path}: it changed while it was written")
            part.replace(place)
        except OSError as error:
            raise FetchError(f"cannot write {place}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)


class FolderDestination:
    """Publishes into a folder."""

    def __init__(self, context: DestinationContext) -> None:
        self._context = context
        text = context.uri.partition(":")[2]
        if not text or text.startswith("//"):
            raise UsageError(f"{context.uri!r} names no folder", hints=("such as file:releases, or file:/srv/models",))
        self._folder = context.folder / text

    def plan(self, publication: Publication) -> PublicationPlan:
        """Return the files."""
        return plan_files(publication, str(self._folder))

    def publish(self, publication: Publication, uploading: Uploading) -> Published:
        """Write what is missing, then the index.

        Raises:
            UsageError: A file with other contents is there.
            FetchError: Something cannot be written.
        """
        return publish_files(publication, Folder(self._folder), uploading, str(self._folder), force=self._context.force)
