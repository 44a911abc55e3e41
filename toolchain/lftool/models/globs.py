"""Globs over paths within a source: `*` and `?` within one part, `**/` across parts; a glob matches the whole path."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@lru_cache(maxsize=256)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """Return the pattern of a glob."""
    out = []
    position = 0
    while position < len(glob):
        if glob.startswith("**/", position):
            out.append("(?:.*/)?")
            position += 3
        elif glob.startswith("**", position):
            out.append(".*")
            position += 2
        else:
            char = glob[position]
            out.append({"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char)))
            position += 1
    return re.compile("".join(out) + r"\Z")


def is_chosen(path: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    """Tell whether `include` and `exclude` choose a path: matched by an include, or there is none; by no exclude."""
    includes = tuple(include)
    if includes and not any(glob_pattern(glob).match(path) for glob in includes):
        return False
    return not any(glob_pattern(glob).match(path) for glob in exclude)
