"""A remote store over plain HTTP: GET, HEAD and PUT below one URL, as Bazel's caches and WebDAV servers support."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

from lftool.api import StoredObject
from lftool.api.http import HTTPClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from lftool.api import RemoteStoreContext

_TOKEN = "LFTOOL_REMOTE_STORE_TOKEN"  # noqa: S105 - a variable's name
_FOUND, _MISSING = 200, frozenset({404, 410})


def _authorization(token: str) -> dict[str, str]:
    """Return the header for a token, or for `user:password`: a bearer token never contains a colon (RFC 6750 §2.1)."""
    if ":" in token:
        return {"authorization": "Basic " + base64.b64encode(token.encode()).decode()}
    return {"authorization": f"Bearer {token}"}


class HTTPStore:
    """Objects below a URL."""

    def __init__(self, context: RemoteStoreContext) -> None:
        self._url = context.url
        token = os.environ.get(_TOKEN)
        self._client = HTTPClient(
            f"remote store {context.url!r}",
            headers=_authorization(token) if token else context.credentials.for_url(context.url).headers,
            hints=(f"set {_TOKEN}, or check that it is still valid and can write",),
            encodings=frozenset({"zstd"}),
        )

    def find(self, key: str) -> StoredObject | None:
        """Return the object that a HEAD request finds."""
        answer = self._client.ask(f"{self._url}/{key}", method="HEAD", accept=frozenset({_FOUND, *_MISSING}))
        if answer.status in _MISSING:
            return None
        return StoredObject(size=answer.size, encoding=answer.headers.get("content-encoding"))

    def open(self, key: str, offset: int, size: int | None) -> AbstractContextManager[Iterator[bytes]]:
        """Return the bytes as they arrive."""
        return self._client.read(f"{self._url}/{key}", offset=offset, size=size)

    def put(self, key: str, content: Iterator[bytes], size: int, encoding: str | None) -> None:
        """Send an object in one PUT."""
        headers = {} if encoding is None else {"content-encoding": encoding}
        self._client.put(f"{self._url}/{key}", content, size, headers=headers)
