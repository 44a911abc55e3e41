"""JSON Schemas that an answer must follow: whether they turn into a grammar of bounded size."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_CHARACTERS, _MOST_NODES, _MOST_DEPTH, _MOST_REPEATS = 64 * 1024, 4096, 32, 1000
_BOUNDS = (("minItems", "maxItems"), ("minLength", "maxLength"), ("minProperties", "maxProperties"))
_TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
# Where schemas lie in a schema (JSON Schema 2020-12, and `definitions` of drafts before it).
_ONE = ("additionalProperties", "items", "not", "contains", "propertyNames", "if", "then", "else")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def check_answer_schema(schema: Any) -> None:  # noqa: ANN401 - JSON
    """Raise unless a JSON Schema is an object that engines can turn into a grammar of bounded size, from itself alone.

    Raises:
        ValueError: It is no object; has more than 65536 characters, 4096 values or 32 levels; asks for more than 1000
            repetitions; has a keyword with a value that it cannot have; or refers to another document.
    """
    if not isinstance(schema, dict):
        raise ValueError(f"a schema is an object, not {json.dumps(schema)[:40]}")  # noqa: TRY004 - one error kind for callers
    _check_size(schema)
    for part in _subschemas(schema):
        _check_keywords(part)


def _check_size(schema: dict[str, Any]) -> None:
    nodes, left = 0, [(schema, 1)]
    while left:
        value, depth = left.pop()
        nodes += 1
        if nodes > _MOST_NODES or depth > _MOST_DEPTH:
            raise ValueError("the schema is too large, or too deep")
        if isinstance(value, dict):
            left += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            left += [(item, depth + 1) for item in value]
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the schema has half of a surrogate pair, which is no character") from None
    except ValueError:
        raise ValueError("the schema has a number that is too large") from None
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"a schema of {len(text)} characters, where {_MOST_CHARACTERS} are the most")
    if re.search(r"(?<!\\)(?:\\\\)*\\u0000", text):
        raise ValueError("the schema has the character U+0000, which no answer has")


def _subschemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema and the schemas in it; what `const`, `enum` and `default` hold is data."""
    left: list[Any] = [schema]
    while left:
        part = left.pop()
        if not isinstance(part, dict):
            continue
        yield part
        left += [part[name] for name in _ONE if name in part]
        for name in _LISTS:
            if name in part:
                left += _listed(part, name)
        for name in _NAMED:
            if name in part:
                left += _named(part, name).values()


def _listed(schema: dict[str, Any], name: str) -> list[Any]:
    value = schema[name]
    if not isinstance(value, list) or not value:
        raise ValueError(f"the schema's {name} must be a list that is not empty, not {json.dumps(value)[:40]}")
    return value


def _named(schema: dict[str, Any], name: str) -> dict[str, Any]:
    value = schema[name]
    if not isinstance(value, dict):
        raise ValueError(f"the schema's {name} must be an object, not {json.dumps(value)[:40]}")  # noqa: TRY004 - as above
    return value


def _check_keywords(schema: dict[str, Any]) -> None:
    for least, most in _BOUNDS:
        found = [_bound(schema, name) for name in (least, most) if name in schema]
        if found != sorted(found):
            raise ValueError(f"the schema's {least} is {found[0]}, and its {most} {found[1]}")
    if "enum" in schema:
        _listed(schema, "enum")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(item, str) for item in required):
        raise ValueError("the schema's required must be a list of names")
    kinds = schema.get("type", "object")
    listed = kinds if isinstance(kinds, list) and kinds else [kinds]
    if not all(kind in _TYPES for kind in listed):
        raise ValueError(f"the schema's type is {json.dumps(kinds)[:40]}; there are {', '.join(_TYPES)}")
    reference = schema.get("$ref", "#")
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise ValueError(f"the schema refers to another document: {str(reference)[:80]}")


def _bound(schema: dict[str, Any], name: str) -> int:
    value = schema[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_REPEATS:
        raise ValueError(
            f"the schema's {name} must be a whole number from 0 to {_MOST_REPEATS}, not {json.dumps(value)[:40]}"
        )
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; which of two values of a key counts, parsers do not agree on."""
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ValueError(f"the schema has the key {twice!r} twice")
    return made


def parse_answer_schema(text: str) -> dict[str, Any]:
    """Return the JSON Schema that a text is.

    Raises:
        ValueError: It is not JSON, or `check_answer_schema` refuses it.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"a schema of {len(text)} characters, where {_MOST_CHARACTERS} are the most")
    try:
        found = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("the schema is too large, or too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"a schema is JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    check_answer_schema(found)
    made: dict[str, Any] = found
    return made
