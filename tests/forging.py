"""Locks as an enemy writes them: changed in one place, every action computed anew, so that they are fresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lftool.codec.locks import emit_lock, locked_recipe, parse_lock
from lftool.codec.recipes import parse_recipe
from lftool.pipeline.identity import transform_action
from lftool.pipeline.locking.staleness import staleness, target_pack_action
from lftool.pipeline.model.parts import model_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from lftool.models.lock import Lock
    from lftool.models.recipe import Recipe
    from lftool.testing import ProjectFolder


def with_actions(lock: Lock, recipe: Recipe) -> Lock:
    """Return a lock whose actions are those that its pins give."""
    lock = attrs.evolve(lock, recipe=locked_recipe(recipe))
    convert = {}
    for role, stage in lock.convert.items():
        inputs, tool = model_parts(recipe, lock).conversion_inputs(role), lock.tools[stage.semantics]
        action = transform_action("convert", inputs, stage.semantics, stage.uses, tool, stage.plan)
        convert[role] = attrs.evolve(stage, action=action)
    lock = attrs.evolve(lock, convert=convert)
    targets = {}
    for name, target in lock.targets.items():
        stage = target.quantize
        if stage is not None:
            inputs, tool = model_parts(recipe, lock).quantize_inputs, lock.tools[stage.semantics]
            action = transform_action("quantize", inputs, stage.semantics, stage.uses, tool, stage.plan)
            stage = attrs.evolve(stage, action=action)
        made = attrs.evolve(target, quantize=stage)
        pack = attrs.evolve(target.pack, action=target_pack_action(recipe, lock, model_parts(recipe, lock), name, made))
        targets[name] = attrs.evolve(made, pack=pack)
    return attrs.evolve(lock, targets=targets)


def without_outputs(lock: Lock) -> Lock:
    """Return a lock that names no output of quantize and pack stages."""
    targets = {}
    for name, target in lock.targets.items():
        stage = target.quantize and attrs.evolve(target.quantize, sha256=None, size=None)
        pack = attrs.evolve(target.pack, manifest=None, sha256=None, size=None)
        targets[name] = attrs.evolve(target, quantize=stage, pack=pack)
    return attrs.evolve(lock, targets=targets)


def forge(project: ProjectFolder, change: Callable[[Lock], Lock]) -> Lock:
    """Change a project's lock, make it fresh again, and write it."""
    recipe = parse_recipe(project.recipe.read_bytes(), "lftool.toml")
    lock = parse_lock(project.lock.read_bytes(), "lftool.lock")
    forged = with_actions(without_outputs(change(lock)), recipe)
    assert staleness(recipe, forged) == []
    project.lock.write_bytes(emit_lock(forged))
    return forged
