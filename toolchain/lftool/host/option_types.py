"""The types that fields of an options class may have: those that fit a TOML table and a lock."""

from __future__ import annotations

import datetime as dt
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import attrs

_PLAIN = (str, int, bool, float, dt.date)
_TYPED = (str, int, bool, float)
TYPED = "str, int, bool, float, Literal of strings, X | None and tuple[X, ...]"
ALLOWED = "str, int, bool, float, date, Literal of strings, X | None, tuple[X, ...], Mapping[str, X], and attrs classes"


def _is_allowed(kind: Any) -> bool:  # noqa: ANN401 - an annotation
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return True
    if origin is Literal:
        return all(isinstance(value, str) for value in inner)
    if origin in {Union, types.UnionType}:
        others = [item for item in inner if item is not type(None)]
        return len(others) == 1 and len(inner) > 1 and _is_allowed(others[0])
    if origin is tuple:
        return len(inner) > 1 and inner[1] is Ellipsis and _is_allowed(inner[0])
    if origin is Mapping:
        return inner[0] is str and _is_allowed(inner[1])
    if isinstance(kind, type) and attrs.has(kind):
        check_options(kind)
        return True
    return False


def type_text(kind: Any) -> str:  # noqa: ANN401 - an annotation
    """Return an annotation as users write it."""
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind).replace("typing.", "")


def _can_be_typed(kind: Any) -> bool:  # noqa: ANN401 - an annotation
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return _can_be_typed(next(item for item in inner if item is not type(None)))
    if origin is tuple:
        return get_origin(inner[0]) is not tuple and _can_be_typed(inner[0])
    return origin is Literal or kind in _TYPED


def check_options(cls: type, *, typed: bool = False) -> None:
    """Raise TypeError unless a table of options can be structured as a class.

    Args:
        cls: An attrs class.
        typed: Whether users type them on a command line, where there are no tables and no dates.
    """
    if not attrs.has(cls):
        raise TypeError(f"options must be an attrs class, not {cls!r}")
    try:
        attrs.resolve_types(cls)
    except NameError as error:
        raise TypeError(f"{cls.__name__}: {error}; annotations must be importable when the plugin runs") from None
    for field in attrs.fields(cls):
        if not _is_allowed(field.type):
            raise TypeError(
                f"{cls.__name__}.{field.name}: {type_text(field.type)} is not a type for options; use {ALLOWED}"
            )
        if typed and not _can_be_typed(field.type):
            raise TypeError(
                f"{cls.__name__}.{field.name}: {type_text(field.type)} cannot be typed on a command line; use {TYPED}"
            )
