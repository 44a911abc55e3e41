"""`lftool rebuild`: make a bundle again from its own recipe and lock, with nothing recalled, and compare.

The slices in a bundle name semantics, never the plugin that executed them: converters, quantizers and archives of tools
come from the plugins installed here. Sources are pinned by digest, so the store or a vendor folder may have them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
from attrs import frozen

from lftool import __version__
from lftool.api import ConverterType, QuantizerType
from lftool.bundle.contents import check_contents, unsigned_artifact
from lftool.bundle.reader import opened
from lftool.codec.locks import parse_lock
from lftool.codec.recipes import parse_recipe
from lftool.errors import (
    FetchError,
    IntegrityError,
    LftoolError,
    LockError,
    NotReproducibleError,
    RecipeError,
    UnavailableError,
)
from lftool.models.digest import Artifact, Digest
from lftool.models.lock import Lock, LockedFile, LockedSource, LockedTarget
from lftool.models.manifest import ADAPTER_PATH, LOCK_PATH, PROJECTOR_PATH, RECIPE_PATH, BundleManifest
from lftool.models.recipe import Recipe, SignSpec
from lftool.ops.bundles.claims import check_documents
from lftool.ops.bundles.slices import check_claims
from lftool.ops.project import Project, open_ports
from lftool.pipeline.building.builds import BuildRequest, plan_build, run_build
from lftool.pipeline.locking.locker import make_lock
from lftool.pipeline.locking.new_pins import Upgrade
from lftool.pipeline.model.parts import model_parts
from lftool.pipeline.pinned import require_pinned_runtime
from lftool.pipeline.stages.signature import open_key
from lftool.pipeline.tools.runtimes import NONE, compile_runtime, frozen_parts, locked_runtime
from lftool.store.durable import durable_file, scratch_directory, storage_errors, write_durably
from lftool.store.vendoring import take_in
from lftool.trust.signing import sign_statement
from lftool.trust.statement import REBUILD_TYPE, Statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lftool.bundle.reader import Bundle
    from lftool.host.registry import Registered, Registry
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.stages.finished import BuiltBundle

Verdict = Literal["identical", "different", "cannot check here"]
IDENTICAL: Verdict = "identical"
DIFFERENT: Verdict = "different"
CANNOT: Verdict = "cannot check here"
_WORST = (IDENTICAL, CANNOT, DIFFERENT)  # a difference is a finding; what cannot be checked may hide another

_NOTHING = Digest("0" * 64)  # an action that nothing has
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


@frozen(kw_only=True)
class PartVerdict:
    """What was found about one part.

    Attributes:
        part: `weights`, `adapter`, `projector`, `runtime`, or `bundle` for everything together.
        verdict: The verdict.
        reason: What differs, or what is missing; empty if identical.
        hints: What helps.
        expected: In the bundle; None if there is no one blob.
        made: In the rebuilt bundle; None if nothing was made.
    """

    part: str
    verdict: Verdict
    reason: str = ""
    hints: tuple[str, ...] = ()
    expected: Artifact | None = None
    made: Artifact | None = None


@frozen(kw_only=True)
class Tooling:
    """A tool that took part: the semantics of the lock, and what executed them here."""

    semantics: str
    provider: str
    version: str


@frozen(kw_only=True)
class Rebuilt:
    """The result.

    Attributes:
        path: The bundle.
        manifest: Its manifest.
        manifest_digest: M.
        unsigned: U.
        parts: A verdict for each part.
        members: Paths of members that differ, are missing, or are new in the rebuilt bundle.
        kept: The rebuilt bundle, if it was kept.
        tools: What executed the stages here.
        plugins: Distribution to (version, digest) of the plugins that took part.
    """

    path: Path
    manifest: BundleManifest
    manifest_digest: Digest
    unsigned: Artifact
    parts: tuple[PartVerdict, ...]
    members: tuple[str, ...] = ()
    kept: Path | None = None
    tools: tuple[Tooling, ...] = ()
    plugins: Mapping[str, tuple[str, str]] = attrs.field(factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of a part."""
        return max((part.verdict for part in self.parts), key=_WORST.index)


@frozen(kw_only=True)
class _Slices:
    """A bundle's recipe, lock and names."""

    recipe: Recipe
    lock: Lock
    manifest: BundleManifest
    manifest_digest: Digest
    unsigned: Artifact

    @property
    def target(self) -> str:
        return self.manifest.target

    @property
    def runtime(self) -> str | None:
        return self.lock.targets[self.target].runtime


def _read(bundle: Bundle) -> _Slices:
    """Check every byte of a bundle against its manifest, and return its slices."""
    check_documents(bundle)
    check_contents(bundle)
    check_claims(bundle)
    return _Slices(
        recipe=parse_recipe(bundle.read_member(RECIPE_PATH), RECIPE_PATH),
        lock=parse_lock(bundle.read_member(LOCK_PATH), LOCK_PATH),
        manifest=bundle.manifest,
        manifest_digest=bundle.manifest_digest,
        unsigned=unsigned_artifact(bundle),
    )


def _with_semantics(
    items: Iterable[Registered[ConverterType]] | Iterable[Registered[QuantizerType]], wanted: str, use: str
) -> str:
    """Return the name of an installed transform that has the semantics and makes the file type.

    Raises:
        UnavailableError: There is none.
    """
    able = [item.record for item in items if item.record.semantics == wanted]
    able = [record for record in able if use.partition("+")[0].partition("{")[0] in record.produces] or able
    own = [record for record in able if getattr(record, "accelerates", None) is None] or able
    if not own:
        raise UnavailableError(
            f"no installed plugin has the semantics {wanted}",
            hints=("install one: pip install 'lftool[cpu,convert]'", "what is installed: lftool plugins list"),
        )
    return max(own, key=lambda record: getattr(record, "preference", 0)).name


def _base_lock(slices: _Slices, registry: Registry) -> Lock:
    """Return a lock with the pins of a slice: sources and fingerprints, but no outputs, and executors found here.

    Raises:
        UnavailableError: No installed plugin has the semantics that the slice names.
    """
    lock, target = slices.lock, slices.target
    convert = {
        role: attrs.evolve(
            stage,
            converter_name=_with_semantics(registry.all(ConverterType), stage.semantics, stage.uses),
            action=_NOTHING,
        )
        for role, stage in lock.convert.items()
    }
    stage = lock.targets[target].quantize
    if stage is not None:
        name = _with_semantics(registry.all(QuantizerType), stage.semantics, stage.uses)
        stage = attrs.evolve(stage, quantizer=name, action=_NOTHING, sha256=None, size=None)
    return attrs.evolve(
        lock,
        convert=convert,
        targets={target: LockedTarget(runtime=slices.runtime, quantize=stage)},
    )


def _vendored(slices: _Slices, lock: Lock, path: Path, ports: Ports) -> Lock:
    """Bring pinned files into the store, and pin archives of tools that are there; return the lock with those.

    Raises:
        FormatError: It is not a vendor folder or archive.
        IntegrityError: A file does not match its name.
    """
    archives = {}
    for registered in ports.registry.all(ConverterType):
        archive = registered.record.factory().tool().archive if registered.record.semantics in lock.tools else None
        if archive is not None:
            archives[registered.record.semantics] = archive
    wanted = [file.artifact for source in slices.lock.sources.values() for file in source.files]
    taken = take_in(path, wanted, ports.store.blobs, [archive.sha256 for archive in archives.values()])
    tools = dict(lock.tools)
    for name, archive in archives.items():
        there = next((item for item in taken.found if item.sha256 == archive.sha256), None)
        if there is not None:
            file = LockedFile(path="archive", size=there.size, sha256=there.sha256)
            pinned = LockedSource(uri=archive.uri, include=archive.include, revision="vendored", files=(file,))
            tools[name] = attrs.evolve(tools[name], archive=pinned)
    return attrs.evolve(lock, tools=tools)


def _check_runtime(slices: _Slices, lock: Lock, ports: Ports) -> PartVerdict | None:
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


def _weights_only(recipe: Recipe, lock: Lock, target: str) -> tuple[Recipe, Lock]:
    """Return recipe and lock with the target in a layout that needs no runtime."""
    spec = attrs.evolve(recipe.targets[target], layout="gguf", layout_options={}, runtime=NONE, backend="cpu")
    locked = attrs.evolve(lock.targets[target], runtime=None)
    return attrs.evolve(recipe, targets={target: spec}), attrs.evolve(lock, runtimes={}, targets={target: locked})


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
        slices = _read(bundle)
    ports = _ports(slices, options, given)
    result = Rebuilt(
        path=path, manifest=slices.manifest, manifest_digest=slices.manifest_digest, unsigned=slices.unsigned, parts=()
    )
    try:
        lock = _base_lock(slices, ports.registry)
    except UnavailableError as error:
        return attrs.evolve(result, parts=(_cannot(error),))
    if options.vendor is not None:
        lock = _vendored(slices, lock, options.vendor, ports)
    ports.records.rebuild = True
    runtime = _check_runtime(slices, lock, ports)
    recipe = slices.recipe
    whole = runtime is None or runtime.verdict == IDENTICAL
    if not whole:
        recipe, lock = _weights_only(recipe, lock, slices.target)
    parts = [] if runtime is None else [runtime]
    try:
        with _made(recipe, lock, slices.target, ports) as (built, fresh), opened(built.path) as made:
            parts = _contents(made.manifest, slices.manifest) + parts
            result = attrs.evolve(result, tools=_tools(fresh), plugins=_plugins(fresh))
            if not whole:
                return attrs.evolve(result, parts=tuple(parts))
            parts.append(_part("bundle", slices.unsigned, built.unsigned))
            result = attrs.evolve(result, parts=tuple(parts), members=_differing(made.manifest, slices.manifest))
            if result.verdict == IDENTICAL:
                return result
            if differs is not None:
                differs(path, built.path)
            return attrs.evolve(result, kept=_keep(built.path, options.keep or Path()))
    except IntegrityError as error:
        if isinstance(error, NotReproducibleError):
            raise
        return attrs.evolve(result, parts=(_cannot(error), *parts))
    except _LACKING as error:
        return attrs.evolve(result, parts=(_cannot(error), *parts))


def _ports(slices: _Slices, options: RebuildOptions, given: Ports) -> Ports:
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


def rebuild_predicate(found: Rebuilt) -> dict[str, object]:
    """Return what a signed statement says about a rebuild; see docs/reference/rebuild-and-proof.md."""
    parts = [
        {
            "part": part.part,
            "result": part.verdict,
            **({"reason": part.reason} if part.reason else {}),
            **({"digest": {"sha256": part.made.sha256.hex}} if part.made else {}),
        }
        for part in found.parts
    ]
    return {
        "result": found.verdict,
        "parts": parts,
        "rebuilder": {
            "lftool": __version__,
            "plugins": {name: {"version": v, "digest": {"sha256": d}} for name, (v, d) in found.plugins.items()},
            "tools": [
                {"semantics": tool.semantics, "provider": tool.provider, "version": tool.version}
                for tool in found.tools
            ],
        },
    }


def write_rebuild_statement(found: Rebuilt, path: Path, key: Path) -> None:
    """Sign what came of a rebuild, and write it.

    Raises:
        TrustError: The key cannot be read.
        StorageError: The statement cannot be written.
    """
    signing = open_key(SignSpec(key=f"file:{key}"), key, open_ports(None))
    statement = Statement(
        bundle=found.manifest.stem,
        manifest=found.manifest_digest,
        unsigned=found.unsigned.sha256,
        predicate=rebuild_predicate(found),
        predicate_type=REBUILD_TYPE,
    )
    write_durably(path, sign_statement(statement, signing.signer, signing.verifier), "statement")
