"""JSON Schemas of recipe, lock and manifest, generated from the models: no second description to maintain."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import attrs

from lftool.models.checks import CheckSpec
from lftool.models.digest import Digest
from lftool.models.gbnf import MOST_CHARACTERS
from lftool.models.lock import Lock
from lftool.models.manifest import BundleManifest
from lftool.models.names import MAX_PATH, NAME_PATTERN
from lftool.models.recipe import Recipe

SCHEMAS: dict[str, type] = {"recipe": Recipe, "lock": Lock, "manifest": BundleManifest}

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REAL = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"},
    ]
}


class _Builder:
    """Collects the definitions that one schema refers to."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}

    def of(self, kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a type expression
        """Return the schema of one type expression."""
        if kind is Any:
            return {}
        if kind is str:
            return {"type": "string"}
        if kind is bool:
            return {"type": "boolean"}
        if kind is int:
            return {"type": "integer"}
        if kind is float:
            return dict(_REAL)
        if kind is Digest:
            return {"type": "string", "pattern": "^[0-9a-f]{64}$"}
        if attrs.has(kind):
            return self.reference(kind)
        return self.generic(kind)

    def generic(self, kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a type expression
        """Return the schema of a parametrised type."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is tuple:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is Mapping:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if origin is Literal:
            return {"enum": list(arguments)}
        rest = [argument for argument in arguments if argument is not type(None)]
        if len(rest) == 1:  # an optional value is omitted, never null
            return self.of(rest[0])
        raise TypeError(f"no schema for {kind!r}")

    def reference(self, cls: type) -> dict[str, Any]:
        """Return a reference to the definition of `cls`, adding it first."""
        if cls.__name__ not in self.definitions:
            self.definitions[cls.__name__] = self.table(cls)
        return {"$ref": f"#/$defs/{cls.__name__}"}

    def merged(self, cls: type, common: type) -> dict[str, Any]:
        """Return a reference to the definition of `cls`, whose keys share a table with those of `common`."""
        reference = self.reference(cls)
        known = {attribute.name: True for attribute in attrs.fields(common) if not attribute.metadata.get("rest")}
        definition = self.definitions[cls.__name__]
        definition["properties"] = {**definition["properties"], **known}
        return reference

    def table(self, cls: type) -> dict[str, Any]:
        """Return the definition of one attrs class."""
        hints = typing.get_type_hints(cls)
        properties, required = {}, []
        for attribute in [attribute for attribute in attrs.fields(cls) if not attribute.metadata.get("rest")]:
            metadata = attribute.metadata
            key = metadata.get("key", attribute.name)
            schema = dict(_REAL) if metadata.get("real") else self.of(hints[attribute.name])
            if "const" in metadata:
                schema = {"const": metadata["const"]}
            schema.update(_LIMITS.get((cls.__name__, attribute.name), {}))
            if "doc" in metadata and "$ref" not in schema:
                schema["description"] = metadata["doc"]
            properties[key] = schema
            if attribute.default is attrs.NOTHING or "const" in metadata:
                required.append(key)
        open_ended = any(attribute.metadata.get("rest") for attribute in attrs.fields(cls))
        made: dict[str, Any] = {"type": "object", "additionalProperties": open_ended, "properties": properties}
        if required:
            made["required"] = sorted(required)
        made.update(_SHAPES.get(cls.__name__, {}))
        made["description"] = str(cls.__doc__).splitlines()[0]
        return made


_NAME = {"pattern": f"^{NAME_PATTERN}$"}
_NAMED = {"minProperties": 1, "propertyNames": _NAME}
_AT_LEAST_ONE = {"minimum": 1}
_SIZE = {"minimum": 0}
_PART = r"(?!\.{1,2}(/|$))[^/\\\u0000-\u001f\u007f]+"
_RELATIVE = {"pattern": f"^{_PART}(/{_PART})*$"}
_SEGMENT = r"[A-Za-z0-9_+=-]([A-Za-z0-9._+=-]{0,126}[A-Za-z0-9_+=-])?"
_MEMBER = {"pattern": f"^{_SEGMENT}(/{_SEGMENT})*$", "maxLength": MAX_PATH}
# Rules that validators enforce and a type cannot express; the examples in schemas/examples keep both in step.
_LIMITS: dict[tuple[str, str], dict[str, Any]] = {
    ("BundleInfo", "name"): _NAME,
    ("BundleInfo", "version"): _NAME,
    ("BundleManifest", "name"): _NAME,
    ("BundleManifest", "version"): _NAME,
    ("BundleManifest", "target"): _NAME,
    ("BundleManifest", "layout"): _NAME,
    ("BundleManifest", "backend"): _NAME,
    ("Recipe", "sources"): _NAMED,
    ("Recipe", "targets"): _NAMED,
    ("SourceSpec", "uri"): {"minLength": 1},
    ("SignSpec", "key"): {"pattern": "^[^:]+:.+$"},
    ("CheckSpec", "kind"): {"minLength": 1},
    ("PerplexityOptions", "text"): _RELATIVE,
    ("PerplexityOptions", "max_increase"): {"minimum": 0},
    ("PerplexityOptions", "context"): {"minimum": 3},
    ("RunContract", "context"): {"minimum": 1, "maximum": 2**31 - 1},
    ("RunContract", "max_tokens"): {"minimum": 1, "maximum": 2**31 - 1},
    ("RunContract", "seed"): {"minimum": 0, "maximum": 2**32 - 2},
    ("RunContract", "top_k"): {"minimum": 0, "maximum": 2**31 - 1},
    ("RunContract", "temperature"): {"minimum": 0, "maximum": 100},  # of numbers; a schema has no range for strings
    ("RunContract", "top_p"): {"minimum": 0, "maximum": 1},
    ("RunContract", "min_p"): {"minimum": 0, "maximum": 1},
    ("RunContract", "repeat_penalty"): {"minimum": 0.01, "maximum": 100},
    ("RunContract", "rope_scale"): {"minimum": 1, "maximum": 1000},
    ("RunContract", "rope_freq_base"): {"minimum": 1, "maximum": 1_000_000_000},
    ("RunContract", "yarn_original_context"): {"minimum": 1, "maximum": 2**31 - 1},
    ("RunContract", "grammar"): {"maxLength": MOST_CHARACTERS},
    ("RunContract", "stop_tokens"): {"maxItems": 64, "uniqueItems": True, "items": {"type": "string", "minLength": 1}},
    ("LockedSource", "files"): {"minItems": 1},
    ("LockedFile", "path"): _RELATIVE,
    ("LockedFile", "size"): _SIZE,
    ("LockedFileList", "path"): _RELATIVE,
    ("LockedConvert", "files"): {"minItems": 1},
    ("LockedQuantize", "size"): _SIZE,
    ("LockedPack", "size"): _SIZE,
    ("Member", "path"): _MEMBER,
    ("Prefix", "size"): _AT_LEAST_ONE,
    ("Prefix", "crc32"): {"pattern": "^[0-9a-f]{8}$"},
    ("Member", "size"): _SIZE,
    ("Member", "crc32"): {"pattern": "^[0-9a-f]{8}$"},
}


_SHAPES: dict[str, dict[str, Any]] = {
    "LockedConvert": {"dependentRequired": {"format": ["files"], "files": ["format"]}},
    "LockedQuantize": {"dependentRequired": {"sha256": ["size"], "size": ["sha256"]}},
    "LockedPack": {
        "dependentRequired": {
            "manifest": ["sha256", "size"],
            "sha256": ["manifest", "size"],
            "size": ["manifest", "sha256"],
        }
    },
    "LockedSource": {"oneOf": [{"required": ["files"]}, {"required": ["file-list"]}]},
}


def json_schema(name: str, kinds: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Return the JSON Schema called `name`: recipe, lock or manifest.

    Args:
        name: Which schema.
        kinds: Known kinds of checks, mapped to their options classes; tables of other kinds may have any keys.
    """
    cls = SCHEMAS[name]
    builder = _Builder()
    table = builder.table(cls)
    if "CheckSpec" in builder.definitions:
        builder.definitions["CheckSpec"]["allOf"] = [
            {"if": {"properties": {"kind": {"const": kind}}}, "then": builder.merged(options, CheckSpec)}
            for kind, options in sorted((kinds or {}).items())
        ]
    return {
        "$schema": _DIALECT,
        "title": f"lftool {name}, version 1",
        **table,
        "$defs": dict(sorted(builder.definitions.items())),
    }
