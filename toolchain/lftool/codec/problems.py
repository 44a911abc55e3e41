"""Turn cattrs' exception groups into lines that name a path: `$.targets.q4.quantise: unknown key; did you mean …`."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import attrs
from cattrs import (  # noqa: TID253 - this module is only imported where it is used
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)

from lftool.codec.paths import join

if TYPE_CHECKING:
    from collections.abc import Iterator


def nearest(wrong: str, valid: list[str]) -> str:
    """Return `; did you mean 'x'?`, or `; valid: …` if no valid key is similar."""
    close = difflib.get_close_matches(wrong, valid) or [v for v in valid if v.lower() == wrong.lower()]
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; valid: {', '.join(sorted(valid))}" if valid else ""


def keys_of(cls: type) -> list[str]:
    """Return the keys allowed in a table that is structured as `cls`."""
    return [attribute.metadata.get("key", attribute.name) for attribute in attrs.fields(cls)]


def _step(note: AttributeValidationNote | IterableValidationNote) -> object:
    return note.name if isinstance(note, AttributeValidationNote) else note.index


def _key(cls: type | None, name: object) -> object:
    if cls is not None and attrs.has(cls):
        for attribute in attrs.fields(cls):
            if attribute.name == name:
                return attribute.metadata.get("key", name)
    return name


def problems(error: BaseException, path: str) -> Iterator[str]:
    """Yield one line per problem in `error`, depth first."""
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            notes = [
                note
                for note in getattr(inner, "__notes__", [])
                if isinstance(note, AttributeValidationNote | IterableValidationNote)
            ]
            below = join(path, _key(error.cl, _step(notes[-1]))) if notes else path
            yield from problems(inner, below)
    elif isinstance(error, ForbiddenExtraKeysError):
        valid = keys_of(error.cl)
        for key in sorted(error.extra_fields):
            yield f"{join(path, key)}: unknown key{nearest(key, valid)}"
    elif isinstance(error, KeyError):
        missing = path if path.rpartition(".")[2] == str(error.args[0]) else join(path, error.args[0])
        yield f"{missing}: missing"
    else:
        # attrs' own validators add the attribute and more after the message
        told = error.args[0] if error.args and isinstance(error.args[0], str) else error
        yield f"{path}{getattr(error, 'below', '')}: {told}"
