"""resolve: turn a request into an immutable revision, and files of known size and digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from lftool.api import Notice, Resolution, Source, SourceFile, SourceRequest
from lftool.codec.file_lists import content_digest
from lftool.codec.options import canonical_options
from lftool.errors import FetchError, PluginError, RecipeError, TransientError
from lftool.host.guarding import awaited, guarded
from lftool.models.digest import Artifact
from lftool.models.lock import LockedFile, LockedSource, check_relative_path
from lftool.pipeline.parallel import in_parallel
from lftool.pipeline.sources.called import Called
from lftool.pipeline.sources.fetch import SourceReader, fetch_detail
from lftool.pipeline.sources.opening import open_source
from lftool.transfer.fetch_rules import wait_before

if TYPE_CHECKING:
    from lftool.host.registry import Registered
    from lftool.models.recipe import SourceSpec
    from lftool.pipeline.ports import Ports


def _ask(
    registered: Registered[Any], source: Source, request: SourceRequest, called: Called, ports: Ports
) -> Resolution:
    """Retry until the source responds or the attempts are used up."""
    rules = attrs.evolve(ports.transfer, attempts=1) if registered.record.local else ports.transfer
    failed = 0

    def tell(text: str) -> None:
        ports.emit(Notice(text=text, warning=True))

    while True:
        try:
            with guarded(registered.origin), awaited(registered.origin, f"resolving {called.title}", tell):
                found = source.resolve(request)
        except TransientError as error:
            failed += 1
            ports.wait(wait_before(failed, error, rules, called.title))
            continue
        if not isinstance(found, Resolution):
            raise PluginError(f"{registered.origin}: resolve() returned {type(found).__name__}, not Resolution")
        if not found.files:
            chosen = request.include or request.exclude
            why = f" that {'its ' if called.typed is None else ''}{called.selection[0]} match" if chosen else ""
            place = f"{called.title}: " if called.typed is None else ""
            raise RecipeError(f"{place}there is no file at {request.uri}{why}")
        return found


def ask(spec: SourceSpec, called: Called, ports: Ports) -> tuple[SourceReader, Resolution]:
    """Return the current resolution of a source, and a reader for its files.

    Raises:
        RecipeError: The request is invalid.
        FetchError: The source has no such thing, or does not respond.
        UnavailableError: The source needs a network, and the build is offline.
        PluginError: The plugin failed, or returned files that a lock cannot hold.
    """
    registered, source = open_source(spec, called, ports)
    request = SourceRequest(uri=spec.uri, include=spec.include, exclude=spec.exclude)
    found = _ask(registered, source, request, called, ports)
    with guarded(registered.origin):
        _check_paths(found)
    _check_cases(found, called)
    reader = SourceReader(registered=registered, source=source, request=request, called=called, options=spec.options)
    return reader, found


def _check_paths(found: Resolution) -> None:
    """Raise ValueError if a lock cannot hold one of the files, before any is fetched."""
    for file in found.files:
        check_relative_path(file.path)
    if len({file.path for file in found.files}) != len(found.files):
        raise ValueError("resolve() names a path twice")


def _vouched(file: SourceFile) -> Artifact | None:
    return None if file.sha256 is None or file.size is None else Artifact(file.sha256, file.size)


def _check_cases(found: Resolution, called: Called) -> None:
    folded: dict[str, str] = {}
    for path in sorted(file.path for file in found.files):
        other = folded.setdefault(path.casefold(), path)
        if other != path:
            raise FetchError(
                f"{called.title}: {other!r} and {path!r} differ in case only, and would be one file on some disks",
                hints=(called.selection[1],),
            )


def resolve(spec: SourceSpec, name: str, ports: Ports) -> LockedSource:
    """Resolve one source. Files for which the remote states no digest are fetched and hashed.

    Raises:
        RecipeError: The request is invalid.
        FetchError: The source has no such thing, or does not respond.
        UnavailableError: The source needs a network, and the build is offline.
    """
    reader, found = ask(spec, Called(name), ports)

    def pin(file: SourceFile) -> LockedFile:
        artifact = _vouched(file)
        if artifact is None and reader.registered.record.local:  # hashed in place: there is no remote to wait for
            artifact = reader.fetch(file, found.revision or "", ports)
        elif artifact is None:
            with ports.stage("fetch", name, file.path) as running:
                artifact = reader.fetch(file, found.revision or "", ports)
                running.detail = fetch_detail(file.path, artifact.size)
        return LockedFile(path=file.path, size=artifact.size, sha256=artifact.sha256, revision=file.revision)

    files = in_parallel(pin, sorted(found.files, key=lambda item: item.path), ports.transfer.files, ports)
    return LockedSource(
        uri=spec.uri,
        include=spec.include,
        exclude=spec.exclude,
        options=canonical_options(spec.options),
        revision=found.revision or f"sha256:{content_digest(files)}",
        gated=found.gated,
        files=tuple(files),
    )
