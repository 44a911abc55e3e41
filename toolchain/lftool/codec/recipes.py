"""Recipes: parse the text, project the recipe to its canonical form, and slice it by target.

The projection drops comments, layout, `[[checks]]`, `[plugins]`, `[sign]` and `detached`; the lock's recipe digest covers its bytes. A slice
is the projection of one target, and itself a valid recipe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from lftool.codec.paths import join
from lftool.codec.toml_in import parse_toml, structure
from lftool.codec.toml_out import emit_toml
from lftool.errors import RecipeError
from lftool.models.digest import Digest
from lftool.models.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator


_TEMPLATE = "template"


def parse_recipe(data: bytes, what: str) -> Recipe:
    """Return the recipe in `data`.

    Args:
        data: TOML.
        what: Name of the file, for messages.

    Raises:
        RecipeError: Not TOML, an unknown key, a wrong type, or a missing value.
    """
    table = parse_toml(data, what, RecipeError)
    return structure(_with_template(table, what), Recipe, what, RecipeError)


def _with_template(table: dict[str, Any], what: str) -> dict[str, Any]:
    """Return a recipe in which a template that is a path is a source: an input, pinned like any other."""
    model, sources = table.get("model"), table.get("sources")
    if not isinstance(model, dict) or not isinstance(sources, dict):
        return table
    path = model.get("template")
    if not isinstance(path, str) or path in sources:
        return table
    if _TEMPLATE in sources:
        raise RecipeError(
            f"{what}: $.model.template: {path!r} is no source, and the recipe has another one called {_TEMPLATE!r}",
            hints=("name the source that holds the template, or call that one something else",),
        )
    source = {"uri": path if ":" in path else f"file:{path}"}
    return {**table, "model": {**model, "template": _TEMPLATE}, "sources": {**sources, _TEMPLATE: source}}


def _building(recipe: Recipe) -> Recipe:
    targets = {name: attrs.evolve(spec, detached=False) for name, spec in recipe.targets.items()}
    return attrs.evolve(recipe, targets=targets, sign=None, checks=(), plugins={})


def recipe_projection(recipe: Recipe) -> dict[str, Any]:
    """Return the parts of a recipe that can change a built byte, as plain data."""
    from lftool.codec.converter import to_plain  # noqa: PLC0415 - cattrs is heavy; see the start-up test

    plain: dict[str, Any] = to_plain(_building(recipe))
    return plain


def emit_recipe(recipe: Recipe) -> bytes:
    """Return the canonical bytes of the recipe's projection."""
    return emit_toml(recipe_projection(recipe))


def recipe_digest(recipe: Recipe) -> Digest:
    """Return the digest of the recipe's projection."""
    return Digest.of(emit_recipe(recipe))


def slice_recipe(recipe: Recipe, target: str) -> Recipe:
    """Return the recipe of one target, without other targets, unused sources, `[[checks]]`, `[plugins]` and `[sign]`."""
    building = _building(recipe)
    spec = building.targets[target]
    model = recipe.model
    roles = {name for name in (model.weights, model.lora, model.mmproj, model.template) if name is not None}
    if spec.quantize is None:
        model = attrs.evolve(model, imatrix=None)
    elif model.imatrix is not None:
        roles.add(model.imatrix)
    return attrs.evolve(
        building,
        sources={name: source for name, source in recipe.sources.items() if name in roles},
        model=model,
        targets={target: spec},
    )


def flatten(value: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (`targets.q4.quantize`, value) pairs of nested tables."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from flatten(value[key], join(path, key).removeprefix("."))
    else:
        yield path, value
