"""Canonical JSON: sorted keys, no white space, UTF-8, no floats. Each value has exactly one encoding.

It is not RFC 8785, which has floats and sorts keys by UTF-16 code units. Ours sorts by code point, allows only integers
below 2**53, and when reading refuses anything that it would not write: duplicate keys, NaN, floats, other spellings.
"""

from __future__ import annotations

import json
from typing import Any

from lftool.errors import FormatError

_MAX_INT = 2**53
_MAX_DEPTH = 32


def _check(value: object, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) >= _MAX_INT:
            raise ValueError(f"integer {value} is not below 2**53")
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"key {key!r} is not a string")  # noqa: TRY004 - one error kind for callers
            _check(item, depth + 1)
    else:
        raise ValueError(f"{type(value).__name__} has no canonical form")  # noqa: TRY004 - as above


def canonical_json(value: object) -> bytes:
    """Return the canonical encoding of `value`.

    Raises:
        ValueError: `value` holds a float, a big integer, a lone surrogate or an unknown type.
    """
    _check(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _refuse(text: str) -> Any:  # noqa: ANN401 - json calls it where a value would stand
    raise ValueError(f"number {text} is not an integer")


def parse_canonical_json(data: bytes, what: str) -> Any:  # noqa: ANN401 - JSON is dynamic; callers structure it
    """Return the value that `data` encodes, if `data` is its canonical encoding.

    Raises:
        FormatError: Not JSON, or not the bytes that `canonical_json` writes.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse)
        canonical = canonical_json(value)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what}: not canonical JSON: {error}") from None
    if canonical != data:
        raise FormatError(f"{what}: JSON is not in its canonical encoding")
    return value
