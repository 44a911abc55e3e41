"""Read objects: their versions from their ids or ETags, their bytes through obstore, their digests by the core."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from lftool.api import Resolution, SourceFile, is_chosen
from lftool.errors import ChangedError, FetchError, RangeError, RecipeError, TransientError
from lftool_s3.options import Options
from lftool_s3.stores import open_store, parse_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore import GetOptions

    from lftool.api import SourceContext, SourceRequest
    from lftool_s3.stores import Place

_PIECE = 1024 * 1024
_NOT_THE_PART = ("non-partial response", "Requested ")  # object_store: `Requested 4..8, got 0..4`
_DENIED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "Missing credentials")
_VERSION, _ETAG = "version ", "etag "
_HINTS = (
    'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or options = { profile = "NAME" }',
    "for a public bucket: options = { anonymous = true }",
)


class ObjectSource:
    """Reads one object, or all below a prefix."""

    def __init__(self, context: SourceContext) -> None:
        self._options: Options = context.options or Options()
        self._stores: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _store(self, place: Place) -> Any:  # noqa: ANN401 - an obstore store
        with self._lock:
            key = f"{place.scheme}://{place.bucket}"
            if key not in self._stores:
                self._stores[key] = open_store(place, self._options)
            return self._stores[key]

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return the objects that the URI means; the lock's revision is their content.

        Raises:
            RecipeError: The URI is wrong, or chooses among the files of one object.
            TransientError: The store does not answer, for now.
            FetchError: Nothing is there, or there is no right to it.
        """
        place = parse_place(request.uri)
        if place.is_prefix:
            files = self._listed(place, request)
        elif request.include or request.exclude:
            raise RecipeError(
                f"source {request.uri!r} is one object; include and exclude choose nothing",
                hints=("for all objects below it, end the URI in /",),
            )
        else:
            import obstore

            with _sorted(request.uri):
                found = obstore.head(self._store(place), place.key)
            files = [_file(found, place.key.rpartition("/")[2])]
        if not files:
            raise FetchError(f"source {request.uri!r}: no object that include and exclude choose")
        return Resolution(revision=None, files=tuple(files))

    def _listed(self, place: Place, request: SourceRequest) -> list[SourceFile]:
        import obstore

        files = []
        with _sorted(request.uri):
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
        with _sorted(request.uri, part="range" in options):
            found = obstore.get(self._store(place), key, options=options)
            etag = found.meta.get("e_tag")
            if file.size is not None and found.meta["size"] != file.size:
                if str(found.attributes.get("Content-Type", "")).startswith("text/html"):
                    raise TransientError(f"{request.uri}: the store answered with a page of HTML")
                raise ChangedError(
                    f"{request.uri} has changed: expected {file.size} bytes, it has {found.meta['size']}"
                )
            if version.startswith(_ETAG) and etag != version.removeprefix(_ETAG):
                raise ChangedError(f"{request.uri} has changed: expected {version}, got {_ETAG}{etag}")
            yield _pieces(found.stream(min_chunk_size=_PIECE), request.uri)


def _pieces(stream: Any, uri: str) -> Iterator[bytes]:  # noqa: ANN401 - an obstore stream
    with _sorted(uri):
        for piece in stream:
            yield bytes(piece)


def _file(item: Any, name: str) -> SourceFile:  # noqa: ANN401 - obstore's metadata of an object
    version = item.get("version")
    etag = item.get("e_tag")
    revision = f"{_VERSION}{version}" if version and version != "null" else f"{_ETAG}{etag}" if etag else None
    return SourceFile(path=name, size=item["size"], revision=revision)


@contextlib.contextmanager
def _sorted(uri: str, *, part: bool = False) -> Iterator[None]:
    """Turn obstore's errors into ours; its own texts hold URLs, which may be signed."""
    from obstore import exceptions

    what = f"source {uri!r}"
    try:
        yield
    except FileNotFoundError as error:
        raise FetchError(f"{what}: there is no such object or bucket", hints=("a prefix ends in /",)) from error
    except exceptions.PreconditionError as error:
        raise ChangedError(f"{uri} has changed since it was resolved") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise FetchError(f"{what}: not allowed", hints=_HINTS) from error
    except exceptions.BaseError as error:
        text = str(error)
        if part and any(sign in text for sign in _NOT_THE_PART):
            raise RangeError(f"{uri}: the store sent something else than the part that was asked for") from error
        if any(sign in text for sign in _DENIED):
            raise FetchError(f"{what}: not allowed", hints=_HINTS) from error
        raise TransientError(f"{uri}: {_reason(text)}") from error
    except OSError as error:
        raise TransientError(f"{uri}: {_reason(str(error))}") from error


def _reason(text: str) -> str:
    """Return one line that says why, without the URL and the debugging output around it."""
    line = " ".join(text.split("\n\nDebug source", 1)[0].split())
    words = [word for word in line.split(" ") if "://" not in word]
    return " ".join(words)[:200]
