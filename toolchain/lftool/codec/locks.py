"""Parse and write locks. There is one emitter, so the same lock has the same bytes everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from lftool.codec.recipes import flatten, recipe_digest, recipe_projection, slice_recipe
from lftool.codec.toml_in import parse_toml, structure
from lftool.codec.toml_out import emit_toml
from lftool.errors import LockError
from lftool.models.lock import (
    LOCK_VERSION,
    Lock,
    LockedConvert,
    LockedQuantize,
    LockedRecipe,
    LockedRuntime,
    LockedTarget,
    LockedTool,
)
from lftool.models.rules import RULES

if TYPE_CHECKING:
    from lftool.models.recipe import Recipe

_COMMENT = "Written by lftool; commit it, and do not edit it. Change lftool.toml, then run `lftool lock`."
_RELOCK = ("restore it from version control, or delete it and run `lftool lock` to pin everything again",)
_MARKERS = (b"<<<<<<< ", b"=======", b">>>>>>> ")


def parse_lock(data: bytes, what: str) -> Lock:
    """Return the lock in `data`.

    Args:
        data: TOML.
        what: Name of the file, for messages.

    Raises:
        LockError: Merge markers, not TOML, another version, an unknown key, a missing or malformed value.
    """
    for number, line in enumerate(data.splitlines(), 1):
        if line.startswith(_MARKERS):
            raise LockError(
                f"{what}: line {number} is a merge conflict marker",
                hints=("take either side, then run `lftool lock`: it keeps every pin that still fits the recipe",),
            )
    table = parse_toml(data, what, LockError, _RELOCK)
    for key, known in (("lock-version", LOCK_VERSION), ("rules", RULES)):
        value = table.get(key)
        if type(value) is int and value > known:
            raise LockError(
                f"{what}: {key} is {value}, this lftool knows {known}",
                hints=("use the lftool that wrote it, or a newer one",),
            )
    return structure(table, Lock, what, LockError, _RELOCK)


def emit_lock(lock: Lock) -> bytes:
    """Return the canonical bytes of `lock`."""
    from lftool.codec.converter import to_plain  # noqa: PLC0415 - cattrs is heavy; see the start-up test

    return emit_toml(to_plain(lock), comment=_COMMENT)


def locked_recipe(recipe: Recipe) -> LockedRecipe:
    """Return the part of `recipe` that a lock records."""
    return LockedRecipe(sha256=recipe_digest(recipe), fields=dict(flatten(recipe_projection(recipe))))


def slice_lock(lock: Lock, recipe: Recipe, target: str) -> Lock:
    """Return the lock of one target, as the bundle contains it.

    It names semantics, never the plugin, version or device that ran them, and has no output from pack on: U cannot name
    its own digest, and nothing in it may depend on who built it.
    """
    part = slice_recipe(recipe, target)
    locked = lock.targets[target]
    stage = locked.quantize
    tools: dict[str, LockedTool] = {}
    stages: list[LockedConvert | LockedQuantize] = [*lock.convert.values(), *([] if stage is None else [stage])]
    for used in stages:
        tool, so_far = lock.tools[used.semantics], tools.get(used.semantics)
        prints = {**(so_far.fingerprints if so_far else {}), used.uses: tool.fingerprints[used.uses]}
        tools[used.semantics] = attrs.evolve(tool, providers={}, archive=None, fingerprints=prints)
    stage = stage and attrs.evolve(stage, quantizer=None, mixture=None)
    return Lock(
        recipe=LockedRecipe(sha256=recipe_digest(part)),
        sources={name: lock.sources[name] for name in part.sources},
        tools=tools,
        runtimes=_runtime_slice(lock, locked.runtime),
        convert={role: attrs.evolve(item, converter_name=None) for role, item in lock.convert.items()},
        targets={target: LockedTarget(runtime=locked.runtime, quantize=stage, metadata=locked.metadata)},
    )


def _runtime_slice(lock: Lock, name: str | None) -> dict[str, LockedRuntime]:
    return {} if name is None else {name: attrs.evolve(lock.runtimes[name], toolchain=None)}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return one line per field that differs: `run.context: 512 → 1024`."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if key not in old:
            lines.append(f"{key}: added, {after!r}")
        elif key not in new:
            lines.append(f"{key}: removed, was {before!r}")
        elif before != after:
            lines.append(f"{key}: {before!r} → {after!r}")
    return lines
