"""`lftool schema`: the JSON Schemas of lftool's files, including the built-in kinds of checks."""

from __future__ import annotations

from typing import Any

from lftool.api import CheckType
from lftool.codec.schemas import json_schema
from lftool.host.registry import Registry


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema of the recipe, the lock or the manifest."""
    registry = Registry.discovered(third_party=False)
    kinds = {item.record.name: item.record.options_class for item in registry.all(CheckType)}
    return json_schema(name, {kind: options for kind, options in kinds.items() if options is not None})
