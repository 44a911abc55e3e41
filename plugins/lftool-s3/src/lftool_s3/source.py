"""Read objects: their versions from their ids or ETags, their bytes through obstore, their digests by the core."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from lftool.api import ChangedError, FetchError, RecipeError, Resolution, SourceFile, TransientError, is_chosen
from lftool_s3.errors import pieces_of, sorted_errors
from lftool_s3.options import Options
from lftool_s3.stores import open_store, parse_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore import GetOptions

    from lftool.api import SourceContext, SourceRequest
    from lftool_s3.stores import Place

_VERSION, _ETAG = "version ", "etag "


class ObjectSource:
    """Reads one object, or all below a prefix."""

    def __init__(self, context: SourceContext) -> None:
        self._options: Options = context.options or Options()
        self._credentials = context.credentials
        self._stores: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _store(self, place: Place) -> Any:  # noqa: ANN401 - an obstore store
        with self._lock:
            key = f"{place.scheme}://{place.bucket}"
            if key not in self._stores:
                self._stores[key] = open_store(place, self._options, self._credentials)
            return self._stores[key]

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return the objects that the URI means; the lock's revision is their content.

        Raises:
            RecipeError: The URI is wrong, or has globs for one object.
            TransientError: The store does not answer, for now.
            FetchError: Nothing is there, or there is no right to it.
        """
        place = parse_place(request.uri)
        if place.is_prefix:
            files = self._listed(place, request)
        elif request.include or request.exclude:
            raise RecipeError(
                f"source {request.uri!r} is one object; include and exclude do not apply",
                hints=("for all objects below it, end the URI in /",),
            )
        else:
            import obstore

            with sorted_errors(f"source {request.uri!r}"):
                found = obstore.head(self._store(place), place.key)
            files = [_file(found, place.key.rpartition("/")[2])]
        if not files:
            raise FetchError(f"source {request.uri!r}: no object matches include and exclude")
        return Resolution(revision=None, files=tuple(files))

    def _listed(self, place: Place, request: SourceRequest) -> list[SourceFile]:
        import obstore

        files = []
        with sorted_errors(f"source {request.uri!r}"):
            for batch in obstore.list(self._store(place), prefix=place.key or None):
                for item in batch:
                    name = item["path"].removeprefix(place.key)
                    if name and not name.endswith("/") and is_chosen(name, request.include, request.exclude):
                        files.append(_file(item, name))
        return files

    @contextlib.contextmanager
    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> Iterator[Iterator[bytes]]:
        """Yield an object's bytes."""
        del revision  # content is the revision, and the core checks it
        import obstore

        place = parse_place(request.uri)
        key = f"{place.key}{file.path}" if place.is_prefix else place.key
        options: GetOptions = {}
        if size is not None:
            options["range"] = (offset, offset + size)
        elif offset:
            options["range"] = {"offset": offset}
        version = file.revision or ""
        if version.startswith(_VERSION):
            options["version"] = version.removeprefix(_VERSION)
        elif version.startswith(_ETAG):
            options["if_match"] = version.removeprefix(_ETAG)
        with sorted_errors(f"source {request.uri!r}", part="range" in options):
            found = obstore.get(self._store(place), key, options=options)
            etag = found.meta.get("e_tag")
            if file.size is not None and found.meta["size"] != file.size:
                if str(found.attributes.get("Content-Type", "")).startswith("text/html"):
                    raise TransientError(f"{request.uri}: the store returned an HTML page")
                raise ChangedError(
                    f"{request.uri} has changed: expected {file.size} bytes, it has {found.meta['size']}"
                )
            if version.startswith(_ETAG) and etag != version.removeprefix(_ETAG):
                raise ChangedError(f"{request.uri} has changed: expected {version}, got {_ETAG}{etag}")
            yield pieces_of(found, f"source {request.uri!r}")


def _file(item: Any, name: str) -> SourceFile:  # noqa: ANN401 - obstore's metadata of an object
    version = item.get("version")
    etag = item.get("e_tag")
    revision = f"{_VERSION}{version}" if version and version != "null" else f"{_ETAG}{etag}" if etag else None
    return SourceFile(path=name, size=item["size"], revision=revision)
