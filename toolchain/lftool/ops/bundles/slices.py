"""The slices in a bundle: read by the format's rules, and compared with manifest, contents and provenance.

A signature covers the provenance, so the inputs that it lists must match the slices in the bundle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from lftool.bundle.documents import source_dependencies
from lftool.codec.locks import emit_lock, parse_lock
from lftool.codec.recipes import emit_recipe, parse_recipe, slice_recipe
from lftool.errors import FormatError, LftoolError
from lftool.models.digest import Digest
from lftool.models.manifest import LOCK_PATH, PROVENANCE_PATH, RECIPE_PATH

if TYPE_CHECKING:
    from lftool.bundle.reader import Bundle
    from lftool.models.digest import Artifact
    from lftool.models.lock import Lock
    from lftool.models.recipe import Recipe


def _recipe(bundle: Bundle, data: bytes) -> Recipe:
    what, manifest = f"{bundle.name}: {RECIPE_PATH}", bundle.manifest
    try:
        recipe = parse_recipe(data, what)
    except LftoolError as error:
        raise FormatError(error.message) from None
    if set(recipe.targets) != {manifest.target}:
        raise FormatError(
            f"{what}: expected only the target {manifest.target}, got {', '.join(sorted(recipe.targets))}"
        )
    if emit_recipe(slice_recipe(recipe, manifest.target)) != data:
        raise FormatError(f"{what}: it is not the canonical slice of one target")
    target = recipe.targets[manifest.target]
    said = (manifest.name, manifest.version, manifest.layout, manifest.backend, manifest.run)
    run = attrs.evolve(recipe.run, publish=False)
    if said != (recipe.bundle.name, recipe.bundle.version, target.layout, target.backend, run):
        raise FormatError(f"{what}: name, version, layout, backend or run contract differ from lftool/bundle.json")
    return recipe


def _lock(bundle: Bundle, data: bytes, recipe: Recipe, recipe_digest: Digest) -> Lock:
    what, target = f"{bundle.name}: {LOCK_PATH}", bundle.manifest.target
    try:
        lock = parse_lock(data, what)
        canonical = emit_lock(lock) == data
    except LftoolError as error:
        raise FormatError(error.message) from None
    if not canonical or set(lock.targets) != {target} or lock.targets[target].pack is not None or lock.plugins:
        raise FormatError(f"{what}: it is not the canonical slice of the target {target}")
    if lock.recipe.sha256 != recipe_digest:
        raise FormatError(
            f"{what}: it belongs to the recipe with sha256 {lock.recipe.sha256}, but the bundle has {recipe_digest}"
        )
    asked = {name: (source.uri, source.include, source.exclude) for name, source in recipe.sources.items()}
    if asked != {name: (source.uri, source.include, source.exclude) for name, source in lock.sources.items()}:
        raise FormatError(f"{what}: its sources are not those of {RECIPE_PATH}")
    return lock


def _weights(lock: Lock, target: str, recipe: Recipe) -> list[Artifact]:
    """Return what the weights may be: the output of the last stage, or else a file of their source."""
    stage = lock.targets[target].metadata or lock.targets[target].quantize
    if stage is not None:
        return [] if stage.output is None else [stage.output]
    converted = lock.convert.get("weights")
    if converted is not None:
        return [converted.output]
    return [file.artifact for file in lock.sources[recipe.model.weights].files]


def _check_provenance(bundle: Bundle, provenance: Any, lock: Lock, digests: dict[str, Digest]) -> None:  # noqa: ANN401 - a SLSA predicate
    what = f"{bundle.name}: {PROVENANCE_PATH}"
    expected = source_dependencies(digests[RECIPE_PATH], digests[LOCK_PATH], lock)
    found = provenance["buildDefinition"]["resolvedDependencies"]
    if found == expected:
        return
    named = {item["name"]: item["digest"]["sha256"] for item in found}
    for item in expected:
        theirs = named.get(item["name"])
        if theirs != item["digest"]["sha256"]:
            ours = item["digest"]["sha256"]
            raise FormatError(f"{what}: {item['name']} has sha256 {theirs}, the slices give {ours}")
    raise FormatError(f"{what}: its dependencies differ from those in the slices")


def check_slices(bundle: Bundle, provenance: Any) -> None:  # noqa: ANN401 - a SLSA predicate
    """Check that the slices are canonical, belong together, and match the manifest and provenance.

    Args:
        bundle: A bundle with a valid structure.
        provenance: The bundle's provenance predicate, parsed.

    Raises:
        FormatError: They are not.
    """
    recipe_bytes, lock_bytes = bundle.read_member(RECIPE_PATH), bundle.read_member(LOCK_PATH)
    digests = {RECIPE_PATH: Digest.of(recipe_bytes), LOCK_PATH: Digest.of(lock_bytes)}
    recipe = _recipe(bundle, recipe_bytes)
    lock = _lock(bundle, lock_bytes, recipe, digests[RECIPE_PATH])
    _check_provenance(bundle, provenance, lock, digests)


def check_claims(bundle: Bundle) -> None:
    """Check that the weights, and a compiled runtime, match the lock's slice. The contents must have been checked.

    Raises:
        FormatError: They are not.
    """
    manifest = bundle.manifest
    recipe = parse_recipe(bundle.read_member(RECIPE_PATH), RECIPE_PATH)
    lock = parse_lock(bundle.read_member(LOCK_PATH), LOCK_PATH)
    weights = manifest.weights.artifact
    if weights not in _weights(lock, manifest.target, recipe):
        raise FormatError(f"{bundle.name}: its weights have sha256 {weights.sha256}, which {LOCK_PATH} does not name")
    for name, runtime in lock.runtimes.items():
        if runtime.output is not None and manifest.prefix.artifact != runtime.output:
            raise FormatError(f"{bundle.name}: it does not begin with the runtime {name} that {LOCK_PATH} names")
