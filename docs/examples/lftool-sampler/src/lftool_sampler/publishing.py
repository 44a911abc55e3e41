"""The destination `shelf://localhost/FOLDER`: the folder that is a remote store, as a place for bundles."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lftool.api import Digest, FetchError, plan_files, publish_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lftool.api import DestinationContext, Publication, PublicationPlan, Published, Uploading


class Files:
    """The `lftool.api.Shelf` of a folder: what `publish_files` asks for, and writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, path: str) -> tuple[int, Digest | None] | None:
        """Return size and digest of a file."""
        data = self.read(path)
        return None if data is None else (len(data), Digest.of(data))

    def read(self, path: str) -> bytes | None:
        """Return a file."""
        place = self._folder / path
        return place.read_bytes() if place.is_file() else None

    def write(self, path: str, content: Callable[[], Iterator[bytes]], size: int, sha256: Digest) -> None:
        """Write a file: others see all of it, or nothing."""
        del size, sha256
        temporary = self._folder / f".{secrets.token_hex(8)}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.writelines(content())
            temporary.replace(self._folder / path)
        except OSError as error:
            raise FetchError(f"cannot write {path} in {self._folder}: {error.strerror}") from error


class ShelfDestination:
    """Publishes files and an `index.json`."""

    def __init__(self, context: DestinationContext) -> None:
        self._context, self._folder = context, Path(urlsplit(context.uri).path)

    def plan(self, publication: Publication) -> PublicationPlan:
        """Return the files."""
        return plan_files(publication, self._context.uri)

    def publish(self, publication: Publication, uploading: Uploading) -> Published:
        """Write what is missing, the index last."""
        return publish_files(publication, Files(self._folder), uploading, self._context.uri, force=self._context.force)
