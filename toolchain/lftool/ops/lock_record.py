"""Add outputs to a lock: those of a first build, or of bundles built elsewhere (`lftool lock --record`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import check_contents, check_flat_digests, unsigned_artifact
from lftool.codec.locks import emit_lock, parse_lock, slice_lock
from lftool.codec.recipes import emit_recipe, slice_recipe
from lftool.errors import LockError, NotReproducibleError, UsageError
from lftool.models.manifest import LOCK_PATH, RECIPE_PATH
from lftool.ops.bundles.claims import check_documents
from lftool.ops.lock_check import check_lock
from lftool.pipeline.model.parts import WEIGHTS, model_parts
from lftool.pipeline.tools.runtimes import runtime_contents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lftool.bundle.reader import Bundle
    from lftool.models.lock import Lock, LockedTarget
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.stages.finished import BuiltBundle


def _with_output(locked: LockedTarget, built: BuiltBundle) -> LockedTarget:
    stage = locked.quantize
    if stage is not None and built.weights is not None:
        stage = attrs.evolve(stage, sha256=built.weights.sha256, size=built.weights.size)
    metadata = locked.metadata
    if metadata is not None and built.described is not None:
        metadata = attrs.evolve(metadata, sha256=built.described.sha256, size=built.described.size)
    pack = locked.pack
    if pack is not None:
        pack = attrs.evolve(pack, manifest=built.manifest, sha256=built.unsigned.sha256, size=built.unsigned.size)
    return attrs.evolve(locked, quantize=stage, metadata=metadata, pack=pack)


def with_outputs(lock: Lock, outputs: Mapping[str, LockedTarget]) -> Lock:
    """Return `lock` with outputs added to targets that have none, if the action that made them is the lock's."""
    targets = dict(lock.targets)
    for name, made in outputs.items():
        ours = targets.get(name)
        if ours is None or ours.pack is None or made.pack is None or ours.pack.output is not None:
            continue
        if ours.pack.action == made.pack.action:
            targets[name] = made
    return attrs.evolve(lock, targets=targets)


def _merge(project: Project, outputs: Mapping[str, LockedTarget]) -> bool:
    """Merge outputs into the lock on disk, re-read under a file lock, so that parallel builds keep each other's."""
    with project.exclusively():
        return project.write_lock(with_outputs(project.require_lock(), outputs))


def record_outputs(project: Project, lock: Lock, built: Sequence[BuiltBundle]) -> bool:
    """Add the outputs of a first build to the lock; return whether it changed."""
    outputs = {item.target: _with_output(lock.targets[item.target], item) for item in built}
    return with_outputs(lock, outputs) != lock and _merge(project, outputs)


def record_bundles(project: Project, paths: Sequence[Path], ports: Ports) -> tuple[str, ...]:
    """Take outputs from bundles that were built elsewhere; return the recorded targets.

    Every bundle is checked completely, and its slices must be those of this recipe and lock.

    Raises:
        IntegrityError: A bundle is corrupted.
        LockError: The lock is stale, or a bundle was built from another recipe or lock.
        NotReproducibleError: The lock already names other outputs.
    """
    lock = check_lock(project)
    outputs: dict[str, LockedTarget] = {}
    for path in paths:
        name, locked = _output_of(project, lock, path, ports)
        outputs[name] = locked
    _merge(project, outputs)
    return tuple(sorted(outputs))


def _require_contents(bundle: Bundle, project: Project, lock: Lock, locked: LockedTarget, ports: Ports) -> None:
    """Check that the bundle's content is what the lock pins, not only what its own slices state."""
    name, manifest = bundle.name, bundle.manifest
    parts = model_parts(project.recipe, lock)
    last = locked.metadata or locked.quantize
    output = last.output if last else parts.artifact(WEIGHTS)
    weights = manifest.weights.artifact
    if weights != output:
        raise NotReproducibleError(
            f"{name}: its weights have sha256 {weights.sha256}, the lock gives {output.sha256 if output else 'none'}"
        )
    beside = set(parts.companions.values())
    found_beside = {member.artifact for member in manifest.members if member.role in {"adapter", "projector"}}
    if beside != found_beside:
        raise NotReproducibleError(f"{name}: its adapter or projector is not the one that the lock gives")
    if locked.runtime is not None:
        prefix, members = runtime_contents(locked.runtime, lock, ports)
        found = {member.path: member.artifact for member in manifest.members if member.path in members}
        if manifest.prefix.artifact != prefix or found != members:
            raise NotReproducibleError(
                f"{name}: it does not begin with the runtime {locked.runtime} that the lock pins"
            )
    check_flat_digests(bundle)


def _with_metadata(locked: LockedTarget, theirs: LockedTarget | None, name: str) -> LockedTarget:
    """Return a target's entry with the output of the metadata stage that a bundle's lock names."""
    if locked.metadata is None:
        return locked
    output = theirs.metadata.output if theirs is not None and theirs.metadata is not None else None
    if output is None:
        raise LockError(f"{name}: its lock names no weights with other keys")
    if locked.metadata.output not in {None, output}:
        raise NotReproducibleError(
            f"{name}, stage metadata: the lock names sha256 {locked.metadata.sha256}, the bundle {output.sha256}"
        )
    return attrs.evolve(locked, metadata=attrs.evolve(locked.metadata, sha256=output.sha256, size=output.size))


def _output_of(project: Project, lock: Lock, path: Path, ports: Ports) -> tuple[str, LockedTarget]:
    with opened(path) as bundle:
        check_documents(bundle)
        check_contents(bundle)
        target = bundle.manifest.target
        locked = lock.targets.get(target)
        if locked is None or locked.pack is None:
            raise UsageError(f"{path.name} is target {target!r}, which the recipe does not have")
        theirs = parse_lock(bundle.read_member(LOCK_PATH), f"{path.name}: {LOCK_PATH}")
        filled = locked
        if locked.quantize is not None:
            their_target = theirs.targets.get(target)
            stage = their_target.quantize if their_target else None
            output = stage.output if stage else None
            if output is None:
                raise LockError(f"{path.name}: its lock names no quantised weights")
            if locked.quantize.output not in {None, output}:
                raise NotReproducibleError(
                    f"{path.name}, stage quantize: the lock names sha256 {locked.quantize.sha256}, the bundle {output.sha256}"
                )
            filled = attrs.evolve(
                locked, quantize=attrs.evolve(locked.quantize, sha256=output.sha256, size=output.size)
            )
        filled = _with_metadata(filled, theirs.targets.get(target), path.name)
        expected = attrs.evolve(lock, targets={**lock.targets, target: filled})
        slices = (
            (RECIPE_PATH, emit_recipe(slice_recipe(project.recipe, target))),
            (LOCK_PATH, emit_lock(slice_lock(expected, project.recipe, target))),
        )
        for member, data in slices:
            if bundle.read_member(member) != data:
                raise LockError(f"{path.name} was built from another recipe or lock: its {member} differs from yours")
        _require_contents(bundle, project, lock, filled, ports)
        unsigned = unsigned_artifact(bundle)
        if locked.pack.output not in {None, unsigned}:
            raise NotReproducibleError(
                f"{path.name}, stage pack: the lock names U {locked.pack.sha256}, the bundle is {unsigned.sha256}"
            )
        pack = attrs.evolve(locked.pack, manifest=bundle.manifest_digest, sha256=unsigned.sha256, size=unsigned.size)
        return target, attrs.evolve(filled, pack=pack)
