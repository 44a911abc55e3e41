"""Read TOML with `tomllib` and structure it; report every failure as one error that names file and path."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.errors import LftoolError
from lftool.codec.utf8 import decode_utf8

T = TypeVar("T")

MOST_RECIPE_BYTES = 1024 * 1024  # also for policies, configuration and credentials
MOST_LOCK_BYTES = 256 * 1024 * 1024
_MOST_PARTS = 64
_PART = rb"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_DEEP_KEY = re.compile(
    rb"(?:^|[\[{,])[ \t]*(?>(?:" + _PART + rb"[ \t]*\.[ \t]*){" + str(_MOST_PARTS).encode() + rb",})", re.MULTILINE
)


def parse_toml(data: bytes, what: str, error: type[LftoolError], hints: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the tables of `data`.

    Raises:
        LftoolError: Of class `error`; not UTF-8, not TOML, or a dotted key of more than 64 parts, for which tomllib
            needs quadratic time.
    """
    if _DEEP_KEY.search(data):
        raise error(f"{what}: a dotted key has more than {_MOST_PARTS} parts", hints=hints)
    text = decode_utf8(data, what, error)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as problem:  # TOMLDecodeError, an absurd integer
        raise error(f"{what}: not valid TOML: {problem}", hints=hints) from None


def structure(
    table: object, cls: type[T], what: str, error: type[LftoolError], hints: tuple[str, ...] = (), *, path: str = "$"
) -> T:
    """Return `table` as a value of `cls`.

    Args:
        table: Plain data.
        cls: An attrs class.
        what: The file's name in messages.
        error: What to raise.
        hints: Hints for the error.
        path: Path of the table in the file.

    Raises:
        LftoolError: Of class `error`; one line per problem, each with the path.
    """
    from cattrs import BaseValidationError

    from lftool.codec.converter import converter  # noqa: PLC0415 - as above
    from lftool.codec.problems import problems  # noqa: PLC0415 - as above

    try:
        return converter().structure(table, cls)
    except (BaseValidationError, ValueError, KeyError) as problem:
        raise error("\n".join(f"{what}: {line}" for line in problems(problem, path)), hints=hints) from None


def read_bytes(
    path: Path, what: str, error: type[LftoolError], hints: tuple[str, ...] = (), *, most: int = MOST_RECIPE_BYTES
) -> bytes:
    """Return the content of `path`.

    Args:
        path: The file.
        what: The file's name in messages.
        error: What to raise.
        hints: Hints for the error.
        most: Largest allowed size in bytes.

    Raises:
        LftoolError: Of class `error`; the file cannot be read, is not a regular file, or is too large.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a FIFO must not hang us
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise error(f"{what}: {path} is not a regular file", hints=hints)
            data: bytes = file.read(most + 1)  # its size may be 0 in /proc, and wrong while it is written
            if len(data) > most:
                raise error(f"{what}: {path} is too large: at most {most} bytes are allowed", hints=hints)
            return data
    except OSError as problem:
        raise error(f"{what}: cannot read {path}: {problem.strerror}", hints=hints) from None
