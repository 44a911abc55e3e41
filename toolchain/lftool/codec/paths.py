"""Paths into nested tables, for messages: `$.targets.q4.overrides."blk.*.attn_v.weight"`."""

from __future__ import annotations

import re

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def join(path: str, key: object) -> str:
    """Return the path of `key` below `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    text = str(key)
    return f"{path}.{text}" if _BARE.match(text) else f'{path}."{text}"'
