"""A remote store in a bucket: `s3://bucket/prefix`, likewise `gs:` and `az:`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lftool.api import StoredObject
from lftool_s3.errors import pieces_of, sorted_errors
from lftool_s3.options import Options
from lftool_s3.stores import open_store, parse_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from obstore import GetOptions

_ENCODING = "Content-Encoding"


class BucketStore:
    """Objects below a prefix of a bucket; endpoint, region and credentials come from the environment."""

    def __init__(self, url: str) -> None:
        self._url = url
        place = parse_place(url)
        self._prefix = f"{place.key.strip('/')}/" if place.key else ""
        self._store = open_store(place, Options())

    def find(self, key: str) -> StoredObject | None:
        """Return what a HEAD says."""
        import obstore

        with sorted_errors(f"remote store {self._url!r}"):
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
        what = f"remote store {self._url!r}"
        with sorted_errors(what, part="range" in options):
            yield pieces_of(obstore.get(self._store, self._prefix + key, options=options), what)

    def put(self, key: str, path: Path, encoding: str | None) -> None:
        """Upload a file, in parts when it is large."""
        import obstore

        attributes = {} if encoding is None else {_ENCODING: encoding}
        with sorted_errors(f"remote store {self._url!r}"):
            obstore.put(self._store, self._prefix + key, path, attributes=attributes)
