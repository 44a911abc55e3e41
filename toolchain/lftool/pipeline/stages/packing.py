"""pack: combine weights, slices and documents into the unsigned bundle U, in a file that has no name yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from lftool.api import LayoutInputs, LayoutPlan, LayoutType, PlannedMember
from lftool.bundle.documents import provenance_predicate, sbom
from lftool.bundle.writer import BundleWriter, Identity, chunk_table, make_manifest
from lftool.codec.canonical import canonical_json
from lftool.codec.locks import emit_lock, slice_lock
from lftool.codec.recipes import emit_recipe, slice_recipe
from lftool.errors import RecipeError, UnavailableError
from lftool.host.given_options import given_options
from lftool.host.guarding import guarded
from lftool.host.returned import layout_plan
from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import (
    ADAPTER_PATH,
    CHUNKS_PATH,
    LOCK_PATH,
    PROJECTOR_PATH,
    PROVENANCE_PATH,
    RECIPE_PATH,
    SBOM_PATH,
    BundleManifest,
    Role,
)
from lftool.pipeline.model.weights import remembered_card
from lftool.pipeline.pinned import require_pinned_plugin
from lftool.pipeline.tools.runtimes import runtime_pieces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lftool.host.registry import Registry
    from lftool.models.lock import Lock
    from lftool.models.recipe import Recipe, TargetSpec
    from lftool.pipeline.ports import Ports


_COMPANIONS: dict[str, tuple[str, Role]] = {"lora": (ADAPTER_PATH, "adapter"), "mmproj": (PROJECTOR_PATH, "projector")}


@frozen(kw_only=True)
class PackPlan:
    """A bundle that is not yet written: its manifest, and the provenance that a signature will repeat."""

    manifest: BundleManifest
    predicate: Any
    suffix: str

    @property
    def file_name(self) -> str:
        """Name of the bundle file."""
        return f"{self.manifest.stem}{self.suffix}"


def _companions(beside: Mapping[str, Artifact]) -> tuple[PlannedMember, ...]:
    return tuple(
        PlannedMember(path=path, role=role, artifact=beside[name])
        for name, (path, role) in _COMPANIONS.items()
        if name in beside
    )


def _layout_inputs(
    pinned: str | None, weights: Artifact, beside: Mapping[str, Artifact], lock: Lock, ports: Ports
) -> LayoutInputs:
    if pinned is None:
        return LayoutInputs(weights=weights, companions=_companions(beside))
    pieces = runtime_pieces(pinned, lock, ports)
    return LayoutInputs(
        weights=weights,
        companions=_companions(beside),
        runtime_prefix=pieces.prefix,
        runtime_members=pieces.members,
    )


def layout_options(spec: TargetSpec, target: str, registry: Registry) -> object:
    """Return the options of a target's layout; None if it has none.

    Raises:
        RecipeError: No such layout, or the layout has no such option.
    """
    record = registry.get(LayoutType, spec.layout).record
    where = f"lftool.toml: $.targets.{target}.layout_options"
    return given_options(record, spec.layout_options, "layout", where, RecipeError)


def _layout_plan(
    target: str,
    spec: TargetSpec,
    weights: Artifact,
    beside: Mapping[str, Artifact],
    lock: Lock,
    ports: Ports,
) -> tuple[LayoutPlan, str]:
    registered = ports.registry.get(LayoutType, spec.layout)
    require_pinned_plugin(registered.origin, lock, ports)
    pinned = lock.targets[target].pack
    number = 1 if pinned is None or pinned.layout is None else pinned.layout
    if registered.record.number != number:
        raise UnavailableError(
            f"layout {spec.layout!r}: the lock pins number {number}, but {registered.record.number} is installed",
            hints=("install the plugin that the lock was made with", "or update the lock: lftool lock"),
        )
    inputs = attrs.evolve(
        _layout_inputs(lock.targets[target].runtime, weights, beside, lock, ports),
        options=layout_options(spec, target, ports.registry),
    )
    with guarded(registered.origin):
        layout = registered.record.factory()
    return layout_plan(layout, inputs, registered.origin), registered.record.suffix


def plan_pack(
    recipe: Recipe, lock: Lock, target: str, weights: Artifact, beside: Mapping[str, Artifact], ports: Ports
) -> PackPlan:
    """Return the plan of a target's bundle; stores its small documents.

    Args:
        recipe: The whole recipe.
        lock: The whole lock, with the output of the target's quantize stage.
        target: Name of the target.
        weights: The weights to pack, in the store.
        beside: Role to GGUF of the weights' companions: `lora`, `mmproj`.
        ports: Store and registry.
    """
    part_recipe, part_lock = slice_recipe(recipe, target), slice_lock(lock, recipe, target)
    recipe_bytes, lock_bytes = emit_recipe(part_recipe), emit_lock(part_lock)
    spec = recipe.targets[target]
    card = remembered_card(weights, ports)
    predicate = provenance_predicate(Digest.of(recipe_bytes), Digest.of(lock_bytes), part_lock, target, card)
    plan, suffix = _layout_plan(target, spec, weights, beside, lock, ports)
    blobs = ports.store.blobs
    documents = [
        (RECIPE_PATH, "recipe", recipe_bytes),
        (LOCK_PATH, "lock", lock_bytes),
        (PROVENANCE_PATH, "provenance", canonical_json(predicate)),
        (SBOM_PATH, "sbom", sbom(part_recipe, target, weights, part_lock, card)),
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
        run=attrs.evolve(recipe.run, publish=False),  # it says what is written, not how to run the model
    )
    manifest = make_manifest(identity, plan, members, blobs)
    return PackPlan(manifest=manifest, predicate=predicate, suffix=suffix)


def writer_of(plan: PackPlan, ports: Ports) -> BundleWriter:
    """Return the writer of a planned bundle; it stops when the build is cancelled."""
    return BundleWriter(manifest=plan.manifest, blobs=ports.store.blobs, pulse=ports.check_cancelled)
