"""The build plan: a pure function of recipe, lock and what is already there; what `--dry-run` prints and builds follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from lftool.models.digest import Artifact, Digest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lftool.models.lock import Lock, LockedConvert, LockedFile, LockedQuantize
    from lftool.models.recipe import Recipe
    from lftool.pipeline.model_parts import ModelParts, Part

StageName = Literal["compile", "fetch", "convert", "quantize", "pack", "sign"]


@frozen(kw_only=True)
class Step:
    """One piece of work. Targets that need the same work share it.

    Attributes:
        key: What it makes: a runtime for compile, a digest for fetch and quantize, the target for pack and sign.
        cached: Whether its output is in the store already.
    """

    stage: StageName
    key: str
    targets: tuple[str, ...]
    detail: str
    cached: bool


@frozen(kw_only=True)
class BuildPlan:
    """All steps of a build, in an order in which they can be done."""

    steps: tuple[Step, ...]

    def of(self, stage: StageName) -> tuple[Step, ...]:
        """Return the steps of one stage."""
        return tuple(step for step in self.steps if step.stage == stage)


@frozen(kw_only=True)
class Present:
    """What is already there, as questions.

    Attributes:
        blob: Whether the store has a blob.
        made: The output of an action that counts as made, by its name, if it is the one that the lock names; else None.
        runtime: Whether the executable that the lock names for a compiled runtime counts as made.
        bundle: The id of the key that signed the finished bundle of a target, "" if unsigned; None when there is none.
    """

    blob: Callable[[Artifact], bool]
    made: Callable[[Digest, str, Artifact | None], Artifact | None]
    runtime: Callable[[str], bool]
    bundle: Callable[[str], str | None]


def _quantize_steps(recipe: Recipe, lock: Lock, targets: Sequence[str], present: Present) -> list[Step]:
    sharing: dict[Digest, tuple[LockedQuantize, list[str]]] = {}
    for target in targets:
        stage = lock.targets[target].quantize
        if stage is not None:
            sharing.setdefault(stage.action, (stage, []))[1].append(target)
    steps = []
    for action, (stage, names) in sharing.items():
        made = present.made(action, "weights", stage.output)
        detail = f"{recipe.targets[names[0]].quantize} with {stage.quantizer}"
        cached = made is not None and present.blob(made)
        steps.append(Step(stage="quantize", key=action.hex, targets=tuple(names), detail=detail, cached=cached))
    return steps


def _compile_steps(lock: Lock, targets: Sequence[str], present: Present) -> list[Step]:
    """Return the steps that bring compiled runtimes into the store."""
    found: dict[str, list[str]] = {}
    for target in targets:
        runtime = lock.targets[target].runtime
        if runtime is not None and lock.runtimes[runtime].output is not None:
            found.setdefault(runtime, []).append(target)
    steps = []
    for runtime, names in found.items():
        made = lock.runtimes[runtime].output
        cached = made is not None and present.blob(made) and present.runtime(runtime)
        steps.append(Step(stage="compile", key=runtime, targets=tuple(names), detail=runtime, cached=cached))
    return steps


def _input_steps(
    lock: Lock, parts: ModelParts, users: Sequence[str], quantized: Collection[str], present: Present
) -> list[Step]:
    """Return the steps that bring the weights of `users` and the importance matrix of `quantized` into the store."""
    steps = _part_steps(parts.weights, lock, users, present)
    if parts.imatrix is not None and quantized:
        targets = [user for user in users if user in quantized]
        steps.append(_fetch_step(*parts.imatrix, targets, present))
    return steps


def _fetch_step(source: str, file: LockedFile, targets: Sequence[str], present: Present) -> Step:
    detail = f"{source}/{file.path}, {file.size / 1e6:.1f} MB"
    cached = present.blob(file.artifact)
    return Step(stage="fetch", key=file.sha256.hex, targets=tuple(targets), detail=detail, cached=cached)


def _is_made(conversion: LockedConvert, present: Present) -> bool:
    return present.made(conversion.action, "weights", conversion.output) is not None


def _part_steps(part: Part, lock: Lock, targets: Sequence[str], present: Present) -> list[Step]:
    """Return the steps that bring a part of the model into the store."""
    conversion = lock.convert.get(part.role)
    converted = conversion is not None and present.blob(conversion.output) and _is_made(conversion, present)
    steps = [] if converted else [_fetch_step(*pinned, targets, present) for pinned in part.pinned]
    if conversion is not None:
        detail = f"{len(part.files)} files with {conversion.converter_name}"
        steps.append(
            Step(stage="convert", key=conversion.action.hex, targets=tuple(targets), detail=detail, cached=converted)
        )
    return steps


def plan_build(
    recipe: Recipe, lock: Lock, parts: ModelParts, targets: Sequence[str], present: Present, *, signed: bool
) -> BuildPlan:
    """Return what a build of `targets` does.

    Args:
        recipe: The recipe.
        lock: Its fresh lock.
        parts: What the model is made of.
        targets: Names of targets, in the order to build.
        present: What is already there.
        signed: Whether bundles are signed.
    """
    quantizes = _quantize_steps(recipe, lock, targets, present)
    to_make = {target for step in quantizes if not step.cached for target in step.targets}
    unquantized = {target for target in targets if lock.targets[target].quantize is None}
    steps = _compile_steps(lock, targets, present)
    users = to_make | unquantized
    conversion = lock.convert.get("weights")
    if conversion is not None and not _is_made(conversion, present):
        users = set(targets)  # what was quantised from weights that nobody has converted proves nothing
    if users:
        steps += _input_steps(lock, parts, [t for t in targets if t in users], to_make, present)
    for part in parts.beside.values():
        steps += _part_steps(part, lock, targets, present)
    steps += quantizes
    for target in targets:
        layout = recipe.targets[target].layout
        key = present.bundle(target)
        steps.append(
            Step(stage="pack", key=target, targets=(target,), detail=f"layout {layout}", cached=key is not None)
        )
        if signed and recipe.sign is not None:
            steps.append(Step(stage="sign", key=target, targets=(target,), detail=recipe.sign.key, cached=bool(key)))
    return BuildPlan(steps=tuple(steps))
