"""Free-form option tables of plugins: the values that they may hold, and their canonical form without floats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftool.codec.paths import join
from lftool.models.reals import canonical_real

if TYPE_CHECKING:
    from collections.abc import Mapping


class NestedError(ValueError):
    """An error deep in a free-form table; `below` is the path from the table, such as `.list[0].day`."""

    def __init__(self, message: str, below: str) -> None:
        super().__init__(message)
        self.below = below


def kind_of(value: object) -> str:
    """Name the TOML or JSON kind of `value`, for messages."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(value), type(value).__name__)


def _canonical(value: object, below: str = "") -> Any:  # noqa: ANN401 - plain data is dynamic
    match value:
        case bool() | int() | str():
            return value
        case float():
            try:
                return canonical_real(value)
            except ValueError as error:
                raise NestedError(str(error), below) from None
        case list() | tuple():
            return [_canonical(item, f"{below}[{index}]") for index, item in enumerate(value)]
        case dict():
            return {key: _canonical(item, join(below, key)) for key, item in value.items()}
        case _:
            kinds = "a string, a number, true or false, an array or a table"
            raise NestedError(f"expected {kinds}, got {kind_of(value)}", below)


def canonical_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` as locks, identities and child processes see them: reals as canonical decimal strings.

    Raises:
        NestedError: A lock cannot hold one of the values.
    """
    plain: dict[str, Any] = _canonical(dict(options))
    return plain
