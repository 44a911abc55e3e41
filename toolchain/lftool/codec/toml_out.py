"""One deterministic TOML emitter: sorted keys, LF, no floats, no dates. The same value gives the same bytes everywhere.

tomlkit keeps the author's layout, which is the opposite of what a lock needs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_FIRST_PRINTABLE = 0x20
_DELETE = 0x7F


def toml_string(text: str) -> str:
    """Return `text` as a TOML basic string."""
    out = []
    for char in text:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif ord(char) < _FIRST_PRINTABLE or ord(char) == _DELETE:
            out.append(f"\\u{ord(char):04x}")
        else:
            out.append(char)
    return f'"{"".join(out)}"'


def _key(key: str) -> str:
    return key if _BARE.match(key) else toml_string(key)


def _inline(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return toml_string(value)
        case list() | tuple():
            return f"[{', '.join(map(_inline, value))}]"
        case dict():
            pairs = (f"{_key(k)} = {_inline(value[k])}" for k in sorted(value))
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        case _:
            raise TypeError(f"{type(value).__name__} has no canonical TOML form")


def _is_table_array(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, dict) for item in value)


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    nested = {key for key, value in table.items() if (isinstance(value, dict) and value) or _is_table_array(value)}
    for key in sorted(table.keys() - nested):
        yield f"{_key(key)} = {_inline(table[key])}"
    for key in sorted(nested):
        value, below = table[key], (*path, key)
        name = ".".join(map(_key, below))
        if isinstance(value, dict):
            if not value or any(not isinstance(v, dict) or not v for v in value.values()):
                yield f"\n[{name}]"
            yield from _table(value, below)
        else:
            for item in value:
                yield f"\n[[{name}]]"
                yield from _table(item, below)


def emit_toml(table: Mapping[str, Any], *, comment: str = "") -> bytes:
    """Return `table` as canonical TOML.

    Args:
        table: Nested dicts of strings, integers, booleans, and lists of those or of dicts.
        comment: Comment at the top of the file, without `# `.

    Raises:
        TypeError: A value has no canonical form, such as a float.
    """
    head = [f"# {line}" for line in comment.splitlines()]
    lines = [*head, *([""] if head else []), *_table(table, ())]
    return ("\n".join(lines).strip() + "\n").encode()
