"""pack: weights, slices and documents become the unsigned bundle U, in a file that has no name yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.api import LayoutInputs, LayoutPlan, LayoutType, PlannedMember, RuntimeType
from lftool.bundle.documents import provenance_predicate, sbom
from lftool.bundle.writer import BundleWriter, Identity, chunk_table, make_manifest
from lftool.codec.canonical import canonical_json
from lftool.codec.locks import emit_lock, slice_lock
from lftool.codec.recipes import emit_recipe, slice_recipe
from lftool.errors import LftoolError, RecipeError, UnavailableError
from lftool.host.registry import guard
from lftool.models.digest import Artifact, Digest
from lftool.models.lock import LockedRuntime
from lftool.models.manifest import CHUNKS_PATH, LOCK_PATH, PROVENANCE_PATH, RECIPE_PATH, SBOM_PATH, BundleManifest
from lftool.pipeline.identity import runtime_digest

if TYPE_CHECKING:
    from lftool.host.registry import Registry
    from lftool.models.lock import Lock
    from lftool.models.recipe import Recipe, TargetSpec
    from lftool.pipeline.ports import Ports


@frozen(kw_only=True)
class PackPlan:
    """A bundle before its bytes: the manifest, and the provenance that a signature will repeat."""

    manifest: BundleManifest
    predicate: Any
    suffix: str

    @property
    def file_name(self) -> str:
        """Name of the bundle's file."""
        return f"{self.manifest.stem}{self.suffix}"


def runtime_name(spec: TargetSpec, registry: Registry) -> str | None:
    """Return which runtime a target needs: the recipe's choice, else the layout's default.

    Raises:
        RecipeError: Unknown layout.
    """
    layout = registry.get(LayoutType, spec.layout).record
    if spec.runtime is not None and layout.default_runtime is None:
        raise RecipeError(f"layout {spec.layout!r} has no runtime; drop `runtime = {spec.runtime!r}`")
    return spec.runtime or layout.default_runtime


def require_pinned_runtime(name: str, pinned: LockedRuntime, found: LockedRuntime) -> None:
    """Raise UnavailableError unless the installed runtime is the frozen one that a lock pins."""
    if pinned != found:
        raise UnavailableError(
            f"runtime {name}: the lock pins sha256 {pinned.sha256}, installed is {found.sha256}",
            hints=(
                "install the lftool or plugin that the lock was made with",
                "or accept the installed one: lftool lock --upgrade",
            ),
        )


def _layout_inputs(spec: TargetSpec, weights: Artifact, lock: Lock, ports: Ports) -> LayoutInputs:
    name = runtime_name(spec, ports.registry)
    if name is None:
        return LayoutInputs(weights=weights)
    registered = ports.registry.get(RuntimeType, name)
    try:
        parts = registered.record.factory().parts()
    except LftoolError:
        raise
    except Exception as error:
        raise guard(registered.origin)(error) from error
    semantics = registered.record.semantics
    require_pinned_runtime(semantics, lock.runtimes[semantics], LockedRuntime(sha256=runtime_digest(parts)))
    blobs = ports.store.blobs
    members = tuple(
        PlannedMember(path=member.path, role=member.role, artifact=blobs.put_bytes(member.data, member.path))
        for member in parts.members
    )
    return LayoutInputs(
        weights=weights, runtime_prefix=blobs.put_bytes(parts.prefix, "runtime"), runtime_members=members
    )


def _layout_plan(spec: TargetSpec, weights: Artifact, lock: Lock, ports: Ports) -> tuple[LayoutPlan, str]:
    registered = ports.registry.get(LayoutType, spec.layout)
    try:
        plan = registered.record.factory().plan(_layout_inputs(spec, weights, lock, ports))
    except LftoolError:
        raise
    except Exception as error:
        raise guard(registered.origin)(error) from error
    return plan, registered.record.suffix


def plan_pack(recipe: Recipe, lock: Lock, target: str, weights: Artifact, ports: Ports) -> PackPlan:
    """Return what the bundle of a target will be, storing its small documents.

    Args:
        recipe: The whole recipe.
        lock: The whole lock, with the output of the target's quantize stage.
        target: Name of the target.
        weights: The weights to pack, in the store.
        ports: Store and registry.
    """
    part_recipe, part_lock = slice_recipe(recipe, target), slice_lock(lock, recipe, target)
    recipe_bytes, lock_bytes = emit_recipe(part_recipe), emit_lock(part_lock)
    spec = recipe.targets[target]
    predicate = provenance_predicate(Digest.of(recipe_bytes), Digest.of(lock_bytes), part_lock, target)
    plan, suffix = _layout_plan(spec, weights, lock, ports)
    blobs = ports.store.blobs
    documents = [
        (RECIPE_PATH, "recipe", recipe_bytes),
        (LOCK_PATH, "lock", lock_bytes),
        (PROVENANCE_PATH, "provenance", canonical_json(predicate)),
        (SBOM_PATH, "sbom", sbom(part_recipe, target, weights, part_lock)),
        (CHUNKS_PATH, "chunks", chunk_table(plan, blobs)),
    ]
    members = [
        PlannedMember(path=path, role=role, artifact=blobs.put_bytes(data, path))  # type: ignore[arg-type]  # the literals above
        for path, role, data in documents
    ]
    identity = Identity(
        name=recipe.bundle.name,
        version=recipe.bundle.version,
        target=target,
        layout=spec.layout,
        backend=spec.backend,
        run=recipe.run,
    )
    manifest = make_manifest(identity, plan, members, blobs)
    return PackPlan(manifest=manifest, predicate=predicate, suffix=suffix)


def writer_of(plan: PackPlan, ports: Ports) -> BundleWriter:
    """Return the writer of a planned bundle; it notices when the build is cancelled."""
    return BundleWriter(manifest=plan.manifest, blobs=ports.store.blobs, pulse=ports.check_cancelled)
