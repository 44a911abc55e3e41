"""resolve: a request becomes an immutable revision and files of known size and digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftool.api import Resolution, Source, SourceRequest
from lftool.codec.file_lists import content_digest
from lftool.codec.options import canonical_options
from lftool.errors import PluginError
from lftool.host.guarding import guarded
from lftool.models.lock import LockedFile, LockedSource, check_relative_path
from lftool.pipeline.opening import open_source
from lftool.pipeline.stages.fetch import SourceReader

if TYPE_CHECKING:
    from lftool.host.registry import Registered
    from lftool.models.recipe import SourceSpec
    from lftool.pipeline.ports import Ports


def _resolve(registered: Registered[Any], source: Source, request: SourceRequest) -> Resolution:
    with guarded(registered.origin):
        found = source.resolve(request)
    if not getattr(found, "files", ()):
        raise PluginError(f"{registered.origin}: resolve() must return a Resolution with at least one file")
    return found


def _check_paths(found: Resolution) -> None:
    """Raise ValueError for files that no lock can hold, before any of them is fetched."""
    for file in found.files:
        check_relative_path(file.path)
    if len({file.path for file in found.files}) != len(found.files):
        raise ValueError("resolve() names a path twice")


def resolve(spec: SourceSpec, name: str, ports: Ports) -> LockedSource:
    """Resolve one source. Files whose digest the remote does not vouch for are fetched and hashed.

    Raises:
        RecipeError: The request is wrong.
        FetchError: The source has nothing there, or does not answer.
        UnavailableError: It needs a network, and the build is offline.
    """
    registered, source = open_source(spec, name, ports)
    request = SourceRequest(uri=spec.uri, include=spec.include, exclude=spec.exclude)
    found = _resolve(registered, source, request)
    reader = SourceReader(registered=registered, source=source, request=request, name=name)
    with guarded(registered.origin):
        _check_paths(found)
    files = []
    for file in sorted(found.files, key=lambda item: item.path):
        sha256 = file.sha256 or reader.fetch(file, found.revision or "", ports).sha256
        files.append(LockedFile(path=file.path, size=file.size, sha256=sha256))
    return LockedSource(
        uri=spec.uri,
        include=spec.include,
        exclude=spec.exclude,
        options=canonical_options(spec.options),
        revision=found.revision or f"sha256:{content_digest(files)}",
        files=tuple(files),
    )
