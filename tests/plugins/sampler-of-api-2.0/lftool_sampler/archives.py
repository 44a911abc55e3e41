"""The source `zipped:URL`: the files in a ZIP archive behind a URL. The archive is its own version: what is in it is hashed."""

from __future__ import annotations

import contextlib
import io
import zipfile
from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.api import FetchError, RecipeError, Resolution, SourceFile, TransientError, check_relative_path, is_chosen
from lftool.api.http import HTTPClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import SourceContext, SourceRequest

_PIECE = 1 << 20


@frozen(kw_only=True)
class Options:
    """`options` of a source."""

    most_bytes: int = field(default=1 << 30, metadata={"doc": "The most bytes that the archive may have."})


class ZippedSource:
    """Downloads the archive, and unpacks what is asked for."""

    def __init__(self, context: SourceContext) -> None:
        self._most = context.options.most_bytes
        self._credentials = context.credentials

    def _archive(self, uri: str) -> zipfile.ZipFile:
        url = uri.partition(":")[2]
        if not url.startswith(("http://", "https://")):
            raise RecipeError(f"source {uri!r}: write zipped:https://…")
        client = HTTPClient(f"source {uri!r}", headers=self._credentials.for_url(url).headers)
        found = io.BytesIO()
        with client.read(url, offset=0, size=None, whole=None, version=None) as pieces:
            for piece in pieces:
                found.write(piece)
                if found.tell() > self._most:
                    raise FetchError(f"source {uri!r}: the archive has more than {self._most} bytes")
        try:
            return zipfile.ZipFile(found)
        except zipfile.BadZipFile as error:
            raise TransientError(f"source {uri!r}: what came is no ZIP archive: {error}") from error

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return its files; their content is the revision."""
        files = []
        with self._archive(request.uri) as archive:
            for info in archive.infolist():
                if info.is_dir() or not is_chosen(info.filename, request.include, request.exclude):
                    continue
                try:
                    check_relative_path(info.filename)
                except ValueError as error:
                    raise FetchError(f"source {request.uri!r}: {error}") from error
                files.append(SourceFile(path=info.filename, size=info.file_size))
        return Resolution(revision=None, files=tuple(files))

    @contextlib.contextmanager
    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> Iterator[Iterator[bytes]]:
        """Yield the bytes of a file; without `ranges`, always all of them."""
        del revision, offset, size
        with self._archive(request.uri) as archive:
            yield self._pieces(archive, file, request.uri)

    def _pieces(self, archive: zipfile.ZipFile, file: SourceFile, uri: str) -> Iterator[bytes]:
        try:
            with archive.open(file.path) as opened:
                while piece := opened.read(_PIECE):
                    yield piece
        except KeyError:
            raise FetchError(f"source {uri!r}: the archive has no {file.path}") from None
        except (zipfile.BadZipFile, zipfile.zlib.error, EOFError) as error:  # type: ignore[attr-defined]
            raise TransientError(f"source {uri!r}: {file.path} is damaged in the archive: {error}") from error
