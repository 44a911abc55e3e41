"""Validators of types, for values that plugins make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from attrs import Attribute

NONE = type(None)


def of(*kinds: type) -> Callable[[Any, Attribute[Any], Any], None]:
    """Return a validator that raises where a value of another type is made, not later in the core."""
    names = " or ".join("None" if kind is type(None) else f"a {kind.__name__}" for kind in kinds)

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:  # noqa: ANN401 - as attrs has it
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f"{type(instance).__name__}.{attribute.name} must be {names}, not {value!r}")

    return check


def tuple_of(kind: type) -> Callable[[Any, Attribute[Any], Any], None]:
    """Return a validator of a tuple, and of the type of all that it holds."""

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:  # noqa: ANN401 - as attrs has it
        where = f"{type(instance).__name__}.{attribute.name}"
        if not isinstance(value, tuple):
            raise TypeError(f"{where} must be a tuple, not a {type(value).__name__}")
        for item in value:
            if not isinstance(item, kind):
                raise TypeError(f"{where} must hold {kind.__name__}, not {item!r}")

    return check
