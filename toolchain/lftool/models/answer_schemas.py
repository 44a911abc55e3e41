"""JSON Schemas that an answer must follow: whether they turn into a grammar of bounded size."""

from __future__ import annotations

import json
from typing import Any

_MOST_CHARACTERS, _MOST_NODES, _MOST_DEPTH, _MOST_REPEATS = 64 * 1024, 4096, 32, 1000
_REPEATS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def check_answer_schema(schema: Any) -> None:  # noqa: ANN401 - JSON
    """Raise unless a JSON Schema is an object that engines can turn into a grammar of bounded size, from itself alone.

    Raises:
        ValueError: It is no object; has more than 65536 characters, 4096 values or 32 levels; asks for more than 1000
            repetitions; or refers to another document.
    """
    if not isinstance(schema, dict) or len(json.dumps(schema)) > _MOST_CHARACTERS:
        raise ValueError(f"a schema is an object of at most {_MOST_CHARACTERS} characters")
    nodes, left = 0, [(schema, 1)]
    while left:
        value, depth = left.pop()
        nodes += 1
        if nodes > _MOST_NODES or depth > _MOST_DEPTH:
            raise ValueError("the schema is too large, or too deep")
        if isinstance(value, dict):
            _check_keywords(value)
            left += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            left += [(item, depth + 1) for item in value]


def _check_keywords(schema: dict[str, Any]) -> None:
    for name in _REPEATS:
        bound = schema.get(name)
        if isinstance(bound, int) and not isinstance(bound, bool) and not 0 <= bound <= _MOST_REPEATS:
            raise ValueError(f"the schema's {name} must be from 0 to {_MOST_REPEATS}")
    reference = schema.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        raise ValueError(f"the schema refers to another document: {reference[:80]}")


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
    try:
        found = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("the schema has half of a surrogate pair, which is no character") from None
    except RecursionError:
        raise ValueError("the schema is too large, or too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"a schema is JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    check_answer_schema(found)
    made: dict[str, Any] = found
    return made
