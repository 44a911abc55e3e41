"""Make a bundle again from its own recipe and lock, with nothing recalled, and compare.

The slices in a bundle name semantics, never the plugin that executed them: converters, quantizers and archives of tools
come from the plugins installed here. Sources are pinned by digest, so the store or a vendor folder may have them.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.api import local_file
from lftool.bundle.bundle_files import opened
from lftool.errors import (
    FetchError,
    IntegrityError,
    LftoolError,
    LockError,
    NotReproducibleError,
    RecipeError,
    StorageError,
    UnavailableError,
)
from lftool.models.manifest import ADAPTER_PATH, PROJECTOR_PATH
from lftool.ops.project import Project, open_ports
from lftool.ops.rebuild.base_lock import Slices, base_lock, read_slices, stored, vendored, weights_only
from lftool.ops.rebuild.results import CANNOT, DIFFERENT, IDENTICAL, PartVerdict, Rebuilt, Tooling
from lftool.pipeline.building.builds import BuildRequest, plan_build, run_build
from lftool.pipeline.locking.locker import make_lock
from lftool.pipeline.locking.new_pins import Upgrade
from lftool.pipeline.model.parts import model_parts
from lftool.pipeline.pinned import require_pinned_runtime
from lftool.pipeline.tools.runtimes import compile_runtime, frozen_parts, locked_runtime
from lftool.store.durable import durable_file, scratch_directory, storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lftool.models.digest import Artifact
    from lftool.models.lock import Lock
    from lftool.models.manifest import BundleManifest
    from lftool.models.recipe import Recipe
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.stages.finished import BuiltBundle

# What says that this machine lacks something, rather than that the bundle differs.
_LACKING = (UnavailableError, FetchError, RecipeError, LockError)


@frozen(kw_only=True)
class RebuildOptions:
    """How to rebuild.

    Attributes:
        project: The folder that `file:` sources are relative to; None if there is none.
        vendor: A folder or archive from `lftool vendor`.
        online: Whether remote sources may be contacted.
        threads: Threads to use; None for as many as there are processors.
        keep: Where to leave the rebuilt bundle if it differs; None for the current folder.
    """

    project: Path | None = None
    vendor: Path | None = None
    online: bool = True
    threads: int | None = None
    keep: Path | None = None


def _missing_file(slices: Slices, options: RebuildOptions, ports: Ports) -> PartVerdict | None:
    """Return a verdict if a file of a `file:` source is neither in the store nor where the user said; else None."""
    for name, source in sorted(slices.lock.sources.items()):
        if not source.uri.startswith("file:"):
            continue
        for file in source.files:
            if ports.store.blobs.is_sound(file.artifact) or _is_here(source.uri, file.path, options, ports):
                continue
            return PartVerdict(
                part="weights",
                verdict=CANNOT,
                reason=f"source {name!r} is {source.uri}, and {file.path} (sha256 {file.sha256}) is not here",
                hints=(
                    "name the folder that it is relative to: --project DIR",
                    "or what `lftool vendor` wrote: --vendor PATH",
                ),
            )
    return None


def _is_here(uri: str, path: str, options: RebuildOptions, ports: Ports) -> bool:
    if options.project is None and not uri.startswith("file://"):
        return False
    try:
        local_file(uri, path, ports.files).close()
    except (StorageError, RecipeError):
        return False
    return True


def _check_runtime(slices: Slices, lock: Lock, ports: Ports) -> PartVerdict | None:
    """Return the verdict on the runtime; None if the bundle has none."""
    name = slices.runtime
    if name is None:
        return None
    pinned = slices.lock.runtimes[name]
    try:
        registered = ports.registry.pinned_runtime(name)
        if not registered.record.compiled:
            require_pinned_runtime(name, pinned, locked_runtime(frozen_parts(registered)))
            return PartVerdict(part="runtime", verdict=IDENTICAL)
        assert pinned.archive is not None  # noqa: S101 - the caller has checked it
        made = compile_runtime(registered, pinned.archive, lock, ports)
    except _LACKING as error:
        return PartVerdict(part="runtime", verdict=CANNOT, reason=error.message, hints=error.hints)
    if made.output == pinned.output:
        return PartVerdict(part="runtime", verdict=IDENTICAL, expected=pinned.output, made=made.output)
    return PartVerdict(
        part="runtime",
        verdict=CANNOT,
        reason=f"{name} compiled here has sha256 {made.output.sha256}, the bundle has {pinned.executable};"
        f" a bundle does not name its compiler, and this machine has {made.toolchain}",
        hints=("rebuild where the compiler is that of the project's lftool.lock",),
        expected=pinned.output,
        made=made.output,
    )


@contextlib.contextmanager
def _made(recipe: Recipe, lock: Lock, target: str, ports: Ports) -> Iterator[tuple[BuiltBundle, Lock]]:
    """Lock and build, with nothing recalled; yield the unsigned bundle, which is gone after the block."""
    ports.records.rebuild = True
    with ports.store.in_use(), scratch_directory(ports.store.temporary) as folder:
        fresh = make_lock(recipe, lock, Upgrade(), ports)
        request = BuildRequest(
            recipe=recipe,
            lock=fresh,
            parts=model_parts(recipe, fresh),
            targets=(target,),
            output=folder,
            rebuild=True,
        )
        (built,) = run_build(request, plan_build(request, ports), None, ports)
        yield built, fresh


def _part(part: str, expected: Artifact, made: Artifact) -> PartVerdict:
    if expected == made:
        return PartVerdict(part=part, verdict=IDENTICAL, expected=expected, made=made)
    reason = (
        f"the bundle has sha256 {expected.sha256} ({expected.size} bytes), rebuilt {made.sha256} ({made.size} bytes)"
    )
    return PartVerdict(part=part, verdict=DIFFERENT, reason=reason, expected=expected, made=made)


_COMPANIONS = {"adapter": ADAPTER_PATH, "projector": PROJECTOR_PATH}


def _contents(ours: BundleManifest, theirs: BundleManifest) -> list[PartVerdict]:
    """Return verdicts on weights and companions."""
    found = [_part("weights", theirs.weights.artifact, ours.weights.artifact)]
    for part, path in _COMPANIONS.items():
        one, other = theirs.member(path), ours.member(path)
        if one is not None and other is not None:
            found.append(_part(part, one.artifact, other.artifact))
    return found


def _differing(ours: BundleManifest, theirs: BundleManifest) -> tuple[str, ...]:
    """Return the paths of members that are not in both, or differ."""
    one = {item.path: (item.role, item.artifact) for item in theirs.members}
    other = {item.path: (item.role, item.artifact) for item in ours.members}
    return tuple(sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path)))


def _cannot(error: LftoolError, part: str = "weights") -> PartVerdict:
    return PartVerdict(part=part, verdict=CANNOT, reason=error.message, hints=error.hints)


def rebuild_bundle(
    path: Path, options: RebuildOptions, given: Ports, differs: Callable[[Path, Path], object] | None = None
) -> Rebuilt:
    """Rebuild the bundle at `path` and compare.

    Args:
        path: The bundle.
        options: How to rebuild.
        given: Events, child processes, and cancellation.
        differs: Called with both bundles if they differ, while both exist.

    Raises:
        FormatError: It is not a canonical bundle.
        IntegrityError: A content does not match its manifest.
        StorageError: It cannot be read, or the rebuilt bundle cannot be written.
    """
    with opened(path) as bundle:
        slices = read_slices(bundle)
    ports = _ports(slices, options, given)
    result = Rebuilt(
        path=path, manifest=slices.manifest, manifest_digest=slices.manifest_digest, unsigned=slices.unsigned, parts=()
    )
    try:
        lock = base_lock(slices, ports.registry)
    except UnavailableError as error:
        return attrs.evolve(result, parts=(_cannot(error),))
    lock = stored(lock, ports)
    if options.vendor is not None:
        lock = vendored(slices, lock, options.vendor, ports)
    missing = _missing_file(slices, options, ports)
    if missing is not None:
        return attrs.evolve(result, parts=(missing,))
    ports.records.rebuild = True
    runtime = _check_runtime(slices, lock, ports)
    try:
        return _compared(result, slices, lock, runtime, options, ports, differs)
    except NotReproducibleError:
        raise
    except (IntegrityError, *_LACKING) as error:
        return attrs.evolve(result, parts=(_cannot(error), *(() if runtime is None else (runtime,))))


def _compared(
    result: Rebuilt,
    slices: Slices,
    lock: Lock,
    runtime: PartVerdict | None,
    options: RebuildOptions,
    ports: Ports,
    differs: Callable[[Path, Path], object] | None,
) -> Rebuilt:
    """Build, and return the result with a verdict for each part: of the whole bundle only with its runtime."""
    whole = runtime is None or runtime.verdict == IDENTICAL
    recipe, base = (slices.recipe, lock) if whole else weights_only(slices.recipe, lock, slices.target)
    with _made(recipe, base, slices.target, ports) as (built, fresh), opened(built.path) as made:
        parts = (*_contents(made.manifest, slices.manifest), *(() if runtime is None else (runtime,)))
        result = attrs.evolve(result, parts=parts, tools=_tools(fresh), plugins=_plugins(fresh))
        if not whole:
            return result
        result = attrs.evolve(
            result,
            parts=(*parts, _part("bundle", slices.unsigned, built.unsigned)),
            members=_differing(made.manifest, slices.manifest),
        )
        if result.verdict == IDENTICAL:
            return result
        if differs is not None:
            differs(result.path, built.path)
        return attrs.evolve(result, kept=_keep(built.path, options.keep or Path()))


def _ports(slices: Slices, options: RebuildOptions, given: Ports) -> Ports:
    """Return the ports of a rebuild. Without a folder of the user's, `file:` sources lead nowhere."""
    project = Project(root=(options.project or Path("/nonexistent")).absolute(), recipe=slices.recipe)
    ports = open_ports(project, online=options.online, threads=options.threads)
    ports.emit, ports.workers, ports.cancelled = given.emit, given.workers, given.cancelled
    ports.load = False
    ports.remote_store = None
    ports.records.vouchers = ()
    return ports


def _tools(lock: Lock) -> tuple[Tooling, ...]:
    return tuple(
        Tooling(semantics=semantics, provider=name, version=version)
        for semantics, tool in sorted(lock.tools.items())
        for name, version in sorted(tool.providers.items())
    )


def _plugins(lock: Lock) -> dict[str, tuple[str, str]]:
    return {
        name: (plugin.version, "" if plugin.sha256 is None else plugin.sha256.hex)
        for name, plugin in sorted(lock.plugins.items())
    }


def _keep(made: Path, folder: Path) -> Path:
    """Copy a rebuilt bundle beside nothing that exists; return where it is."""
    place = folder.absolute() / f"{made.stem}.rebuilt{made.suffix}"
    with durable_file(place.parent, "bundle") as out, storage_errors("write", place), made.open("rb") as source:
        while piece := source.read(1 << 20):
            out.file.write(piece)
        out.commit(place, mode=made.stat().st_mode & 0o777)
    return place
