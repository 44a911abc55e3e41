"""Whether a lock belongs to a recipe: exact, offline, in milliseconds. For `lock --check`, `build`, `--dry-run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.codec.locks import differences, locked_recipe
from lftool.codec.options import canonical_options
from lftool.codec.recipes import recipe_digest, slice_recipe
from lftool.pipeline.identity import metadata_action, pack_action, transform_action
from lftool.pipeline.model.header_edits import header_edits
from lftool.pipeline.model.parts import WEIGHTS, ModelParts, Part, model_parts
from lftool.pipeline.uses import Use, parse_use

if TYPE_CHECKING:
    from lftool.models.lock import Lock, LockedTarget
    from lftool.models.recipe import Recipe


def target_pack_action(recipe: Recipe, lock: Lock, parts: ModelParts, target: str, locked: LockedTarget) -> object:
    """Return the pack action of a target, computed from recipe and pins."""
    weights = locked.metadata or locked.quantize or parts.artifact(WEIGHTS)
    runtime = (locked.runtime, lock.runtimes[locked.runtime]) if locked.runtime else None
    part = slice_recipe(recipe, target)
    used = {name: lock.sources[name] for name in part.sources}
    layout = None if locked.pack is None else locked.pack.layout
    return pack_action(recipe_digest(part), used, weights, runtime, lock.convert, layout)


def _conversion_problems(lock: Lock, parts: ModelParts) -> list[str]:
    unknown = sorted(lock.convert.keys() - parts.by_role.keys())
    if unknown:
        return [f"convert.{unknown[0]}: the recipe has no such role"]
    return [problem for part in parts.by_role.values() for problem in _part_problems(part, parts, lock)]


def _part_problems(part: Part, parts: ModelParts, lock: Lock) -> list[str]:
    role, stage = part.role, lock.convert.get(part.role)
    if part.is_gguf != (stage is None):
        return [f"convert.{role}: the lock has {'no such stage' if stage is None else 'a stage'}"]
    if stage is None:
        return []
    inputs, tool = parts.conversion_inputs(role), lock.tools[stage.semantics]
    expected = transform_action("convert", inputs, stage.semantics, stage.uses, tool, stage.plan)
    return [] if expected == stage.action else [f"convert.{role}.action: {stage.action}, the pins give {expected}"]


def _target_problems(recipe: Recipe, lock: Lock, parts: ModelParts, name: str) -> list[str]:
    spec, locked = recipe.targets[name], lock.targets.get(name)
    if locked is None or locked.pack is None:
        return [f"targets.{name}: not in the lock"]
    found = []
    stage = locked.quantize
    if (spec.quantize is None) != (stage is None):
        found.append(f"targets.{name}.quantize: the lock has {'no such stage' if stage is None else 'a stage'}")
    if spec.quantize is not None and stage is not None:
        inputs = parts.quantize_inputs
        options, named = canonical_options(spec.options), parse_use(stage.uses)
        # Only a plugin knows which options decide bits, and none is loaded; a lock may only name the recipe's.
        deciding = {key: options[key] for key in named.options if key in options}
        use = str(Use(produces=spec.quantize, imatrix="imatrix" in inputs, options=deciding))
        if stage.uses != use:
            found.append(f"targets.{name}.quantize.uses: {stage.uses!r}, the recipe needs {use!r}")
        expected = transform_action(
            "quantize", inputs, stage.semantics, stage.uses, lock.tools[stage.semantics], stage.plan
        )
        if expected != stage.action:
            found.append(f"targets.{name}.quantize.action: {stage.action}, the pins give {expected}")
    found += _metadata_problems(recipe, parts, name, locked)
    expected_pack = target_pack_action(recipe, lock, parts, name, locked)
    if expected_pack != locked.pack.action:
        found.append(f"targets.{name}.pack.action: {locked.pack.action}, the pins give {expected_pack}")
    return found


def _metadata_problems(recipe: Recipe, parts: ModelParts, name: str, locked: LockedTarget) -> list[str]:
    edits, stage = header_edits(recipe), locked.metadata
    if (edits is None) != (stage is None):
        return [f"targets.{name}.metadata: the lock has {'no such stage' if stage is None else 'a stage'}"]
    if edits is None or stage is None:
        return []
    template = None if parts.template is None else parts.template[1].sha256
    expected = metadata_action(locked.quantize or parts.artifact(WEIGHTS), edits.plain(template))
    if (stage.template, stage.action) != (template, expected):
        return [f"targets.{name}.metadata.action: {stage.action}, the pins give {expected}"]
    return []


def staleness(recipe: Recipe, lock: Lock) -> list[str]:
    """Return why `lock` is not the lock of `recipe`, one line per difference; empty if it is fresh."""
    current = locked_recipe(recipe)
    found = differences(dict(lock.recipe.fields), dict(current.fields))
    if not found and lock.recipe.sha256 != current.sha256:
        found.append(f"recipe.sha256: {lock.recipe.sha256}, the recipe has {current.sha256}")
    if found:
        return found
    for name, source in sorted(recipe.sources.items()):
        locked = lock.sources.get(name)
        if locked is None:
            found.append(f"sources.{name}: not in the lock")
        elif (locked.uri, locked.include, locked.exclude, dict(locked.options)) != (
            source.uri,
            source.include,
            source.exclude,
            canonical_options(source.options),
        ):
            found.append(f"sources.{name}: the lock pins a different request")
    found += [f"sources.{name}: not in the recipe" for name in sorted(lock.sources.keys() - recipe.sources.keys())]
    found += [f"targets.{name}: not in the recipe" for name in sorted(lock.targets.keys() - recipe.targets.keys())]
    if found:
        return found
    parts = model_parts(recipe, lock)
    found = _conversion_problems(lock, parts)
    if not found:
        for name in sorted(recipe.targets):
            found += _target_problems(recipe, lock, parts, name)
    return found
