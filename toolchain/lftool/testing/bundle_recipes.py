"""The recipe from which kits build small bundles: a GGUF beside it, one target, and what a test adds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lftool.testing.models import tiny_gguf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lftool.testing.project_folder import ProjectFolder

STEM = "conforming-1-plain"


def toml(value: Any) -> str:  # noqa: ANN401 - plain data
    """Return plain data as an inline TOML value. Except for tables, JSON is valid TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def write_small_recipe(
    project: ProjectFolder, target: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write a small GGUF, and a recipe that packs it as it is.

    Args:
        project: Where to write.
        target: Keys of the target `plain`, such as `layout`.
        tables: More tables by name, such as `sign`. A name in brackets, such as `[checks]`, is an element of an array.
    """
    tiny_gguf(project.root / "model.gguf", width=32)
    sections: dict[str, Mapping[str, Any]] = {
        "bundle": {"name": "conforming", "version": "1"},
        "sources.base": {"uri": "file:model.gguf"},
        "model": {"weights": "base"},
        "targets.plain": target,
        **(tables or {}),
    }
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {toml(value)}" for key, value in values.items()), ""]
    project.write_recipe("\n".join(lines))


def built(project: ProjectFolder) -> Path:
    """Lock and build; return the one bundle.

    Raises:
        AssertionError: A command fails.
    """
    project.run("lock").assert_success()
    project.run("build").assert_success()
    (bundle,) = (project.root / "dist").glob(f"{STEM}.*")
    return bundle
