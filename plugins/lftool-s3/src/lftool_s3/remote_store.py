"""A remote store in a bucket: `s3://bucket/prefix`, `gs:` or `az:`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lftool.api import StoredObject
from lftool_s3.errors import pieces_of, sorted_errors
from lftool_s3.options import Options
from lftool_s3.stores import open_store, parse_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from obstore import GetOptions

    from lftool.api import RemoteStoreContext

_ENCODING = "Content-Encoding"
_PART = 8 * 1024 * 1024
_HINTS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "for a public bucket: AWS_SKIP_SIGNATURE=true",
)


class BucketStore:
    """Objects below a prefix of a bucket; endpoint, region and credentials come from the environment."""

    def __init__(self, context: RemoteStoreContext) -> None:
        self._url = context.url
        place = parse_place(context.url)
        self._prefix = f"{place.key.strip('/')}/" if place.key else ""
        self._store = open_store(place, Options(), context.credentials)

    def find(self, key: str) -> StoredObject | None:
        """Return what a HEAD says."""
        import obstore

        with self._sorted():
            try:
                found = obstore.get(self._store, self._prefix + key, options={"head": True})
            except FileNotFoundError:
                return None
            return StoredObject(size=found.meta["size"], encoding=found.attributes.get(_ENCODING))

    @contextlib.contextmanager
    def open(self, key: str, offset: int, size: int | None) -> Iterator[Iterator[bytes]]:
        """Yield the bytes as they are stored."""
        import obstore

        options: GetOptions = {}
        if size is not None:
            options["range"] = (offset, offset + size)
        elif offset:
            options["range"] = {"offset": offset}
        with self._sorted(part="range" in options):
            found = obstore.get(self._store, self._prefix + key, options=options)
            yield pieces_of(found, f"remote store {self._url!r}")

    def put(self, key: str, content: Iterator[bytes], size: int, encoding: str | None) -> None:
        """Upload an object, in parts when it is large."""
        import obstore

        attributes = {} if encoding is None else {_ENCODING: encoding}
        with self._sorted():
            whole = b"".join(content) if size <= _PART else content
            obstore.put(
                self._store, self._prefix + key, whole, attributes=attributes, chunk_size=_PART, max_concurrency=4
            )

    def _sorted(self, *, part: bool = False) -> AbstractContextManager[None]:
        return sorted_errors(f"remote store {self._url!r}", part=part, hints=_HINTS)
