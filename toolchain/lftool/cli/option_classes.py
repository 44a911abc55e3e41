"""Options of a plugin's record as options of a command: one for each field of its options class."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_TYPES: dict[Any, Any] = {int: click.INT, float: click.FLOAT, bool: click.BOOL}


def options_of(cls: type | None) -> list[Callable[..., Any]]:
    """Return a command-line option for each field of an options class."""
    import attrs

    if cls is None:
        return []
    attrs.resolve_types(cls)
    return [_option(field) for field in attrs.fields(cls)]


def _option(field: Any) -> Callable[..., Any]:  # noqa: ANN401 - an attribute of attrs
    import attrs

    kind, several = field.type, False
    if get_origin(kind) in {Union, types.UnionType}:
        kind = next(item for item in get_args(kind) if item is not type(None))
    if get_origin(kind) is tuple:
        kind, several = get_args(kind)[0], True
    choice = click.Choice([str(value) for value in get_args(kind)]) if get_origin(kind) is Literal else None
    name, required = field.metadata.get("key", field.name), field.default is attrs.NOTHING
    typed, doc = name.replace("_", "-"), field.metadata.get("doc")
    if kind is bool and not several:
        return click.option(f"--{typed}/--no-{typed}", name, default=None, required=required, help=doc)
    return click.option(
        f"--{typed}",
        name,
        required=required,
        multiple=several,
        help=doc,
        type=choice or _TYPES.get(kind),
        metavar=field.metadata.get("metavar"),
    )


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return what was typed; what was not has the class's default."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if value not in (None, ())
    }
