"""Read TOML with `tomllib` and structure it, turning every failure into one error that names file and path."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.errors import LftoolError

T = TypeVar("T")


def parse_toml(data: bytes, what: str, error: type[LftoolError], hints: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the tables of `data`.

    Raises:
        LftoolError: Of class `error`; not UTF-8 or not TOML.
    """
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as problem:  # TOMLDecodeError, UnicodeDecodeError, an absurd integer
        raise error(f"{what}: not valid TOML: {problem}", hints=hints) from None


def structure(table: object, cls: type[T], what: str, error: type[LftoolError], hints: tuple[str, ...] = ()) -> T:
    """Return `table` as a value of `cls`.

    Raises:
        LftoolError: Of class `error`; one line per problem, each with the path.
    """
    from cattrs import BaseValidationError

    from lftool.codec.converter import converter  # noqa: PLC0415 - likewise
    from lftool.codec.problems import problems  # noqa: PLC0415 - likewise

    try:
        return converter().structure(table, cls)
    except (BaseValidationError, ValueError, KeyError) as problem:
        raise error("\n".join(f"{what}: {line}" for line in problems(problem)), hints=hints) from None


def read_bytes(path: Path, what: str, error: type[LftoolError], hints: tuple[str, ...] = ()) -> bytes:
    """Return the content of `path`.

    Raises:
        LftoolError: Of class `error`; the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as problem:
        raise error(f"{what}: cannot read {path}: {problem.strerror}", hints=hints) from None
