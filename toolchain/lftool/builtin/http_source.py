"""One file at an `http:` or `https:` URL; an appended `#sha256=…` states its digest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lftool.api import Digest, FetchError, RecipeError, Resolution, SourceFile, check_relative_path
from lftool.api.http import HTTPClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from lftool.api import SourceContext, SourceRequest
    from lftool.api.http import HTTPAnswer


_HINT = "name a credential for its host in credentials.toml (lftool help configuration), or in netrc"
_FRAGMENT = re.compile(r"sha256=([0-9a-f]{64})\Z")
_NO_HEAD = {400, 403, 405, 501}  # pre-signed URLs are signed for one method


class HTTPSource:
    """Reads a URL. Its version is the ETag or the Last-Modified time; without either, it reads in one request."""

    def __init__(self, context: SourceContext) -> None:
        self._credentials = context.credentials
        self._clients: dict[str, HTTPClient] = {}

    def _client(self, uri: str) -> HTTPClient:
        if uri not in self._clients:
            headers = self._credentials.for_url(uri).headers
            hint = "your credential for this host may have expired" if headers else _HINT
            self._clients[uri] = HTTPClient(f"source {uri!r}", headers=headers, hints=(hint,))
        return self._clients[uri]

    def _url(self, uri: str) -> str:
        url = uri.partition("#")[0]
        query = self._credentials.for_url(uri).query
        return url if query is None else f"{url}?{query}"

    def _asserted(self, uri: str) -> Digest | None:
        fragment = urlsplit(uri).fragment
        match = _FRAGMENT.match(fragment)
        if fragment and match is None:
            raise RecipeError(f"source {uri!r}: the part after # must be sha256= and 64 lower-case hex digits")
        return Digest(match[1]) if match else None

    def _name(self, uri: str) -> str:
        name = unquote(urlsplit(uri).path).rpartition("/")[2]
        try:
            check_relative_path(name)
        except ValueError:
            raise RecipeError(
                f"source {uri!r}: the URL does not end in a file name", hints=("name one file, not a folder",)
            ) from None
        return name

    def _head(self, url: str, uri: str) -> HTTPAnswer:
        answer = self._client(uri).ask(url, method="HEAD", accept=frozenset({200, *_NO_HEAD}))
        if answer.status in _NO_HEAD:  # the first byte is enough
            probe = frozenset({200, 206, 416})
            answer = self._client(uri).ask(url, headers={"range": "bytes=0-0"}, accept=probe, most=None)
        return answer

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return the file and its version; the lock's revision is its content."""
        if request.include or request.exclude:
            raise RecipeError(f"source {request.uri!r}: a URL is one file; include and exclude do not apply")
        asserted, name = self._asserted(request.uri), self._name(request.uri)
        answer = self._head(self._url(request.uri), request.uri)
        if answer.headers.get("content-type", "").startswith("text/html") and not name.endswith((".html", ".htm")):
            raise FetchError(f"source {request.uri!r}: expected the file {name}, got an HTML page")
        etag = answer.headers.get("etag", "W/")
        exact = not etag.startswith("W/")
        file = SourceFile(path=name, size=answer.size, sha256=asserted, revision=answer.version, exact=exact)
        return Resolution(revision=None, files=(file,))

    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Return the file's bytes."""
        del revision  # content is the revision, checked by the core
        url = self._url(request.uri)
        return self._client(request.uri).read(url, offset=offset, size=size, whole=file.size, version=file.revision)
