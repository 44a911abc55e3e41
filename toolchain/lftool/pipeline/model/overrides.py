"""Expand the recipe's tensor overrides to exact tensor names and types; refuse conflicts."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

from lftool.api import TensorType, TransformPlan
from lftool.api.gguf import GGML_TYPES, GGUFHeader
from lftool.codec.problems import nearest
from lftool.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping


def expand_overrides(overrides: Mapping[str, str], header: GGUFHeader, target: str) -> tuple[TensorType, ...]:
    """Return the type of every overridden tensor, in file order.

    llama.cpp's own patterns are unanchored and the first match wins, so `output.weight` would also hit
    `blk.0.attn_output.weight`; here a key is an exact name or a glob over whole names.

    Raises:
        RecipeError: A key matches nothing, a type is unknown, or two keys disagree on a tensor.
    """
    names = [tensor.name for tensor in header.tensors]
    chosen: dict[str, tuple[str, str]] = {}
    for key, kind in sorted(overrides.items()):
        where = f"targets.{target}.overrides: {key!r}"
        if kind not in GGML_TYPES:
            raise RecipeError(f"{where}: unknown tensor type {kind!r}{nearest(kind, list(GGML_TYPES))}")
        matched = [name for name in names if name == key or fnmatch.fnmatchcase(name, key)]
        if not matched:
            raise RecipeError(f"{where} matches no tensor{nearest(key, names) if len(names) < 4096 else ''}")  # noqa: PLR2004 - a longer list does not help
        for name in matched:
            other = chosen.setdefault(name, (key, kind))
            if other[1] != kind:
                raise RecipeError(f"{where} makes {name} {kind}, but {other[0]!r} makes it {other[1]}")
    return tuple(TensorType(tensor=name, type=chosen[name][1]) for name in names if name in chosen)


def check_overrides(wanted: tuple[TensorType, ...], plan: TransformPlan, target: str) -> None:
    """Raise RecipeError unless the plan gives every overridden tensor its type from the recipe."""
    planned = {item.tensor: item.type for item in plan.tensors}
    for item in wanted:
        got = planned.get(item.tensor)
        if got != item.type:
            raise RecipeError(
                f"targets.{target}.overrides: the quantizer makes {item.tensor} {got}, not {item.type}",
                hints=("the tensor's shape or the file type does not allow it; drop the override",),
            )
