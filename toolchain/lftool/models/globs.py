"""Globs over paths within a source: `*` and `?` within one part, `**/` across parts; a glob matches the whole path.

For every glob, even a hostile one, matching takes time that grows with the product of both lengths.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

# A step of a glob: a literal character, `?`, `*`, `**`, or `**/`, which matches any number of folders.
Step = tuple[Literal["char", "any", "part", "all", "folders"], str]


@frozen
class Glob:
    """A parsed glob."""

    steps: tuple[Step, ...]

    def matches(self, path: str) -> bool:
        """Tell whether it matches a whole path."""
        ends = {0}  # where in the path the steps so far may have ended
        for kind, char in self.steps:
            ends = set(_advanced(kind, char, path, ends))
            if not ends:
                return False
        return len(path) in ends


def _advanced(kind: str, char: str, path: str, ends: set[int]) -> Iterable[int]:
    """Return where a step may end, given where it may begin. Visits each position once."""
    if kind == "char":
        return (end + 1 for end in ends if end < len(path) and path[end] == char)
    if kind == "any":
        return (end + 1 for end in ends if end < len(path) and path[end] != "/")
    first = min(ends)
    if kind == "all":
        return range(first, len(path) + 1)
    if kind == "folders":
        return [*ends, *(at + 1 for at in range(first, len(path)) if path[at] == "/")]
    found, reached = [], -1
    for end in sorted(ends):
        at = max(end, reached)
        if end > reached:
            found.append(end)
        while at < len(path) and path[at] != "/":
            at += 1
            found.append(at)
        reached = max(reached, at)
    return found


@lru_cache(maxsize=256)
def parse_glob(glob: str) -> Glob:
    """Return a parsed glob. Two or more stars in a row count as `**`."""
    steps: list[Step] = []
    position = 0
    while position < len(glob):
        if glob.startswith("**", position):
            while position < len(glob) and glob[position] == "*":
                position += 1
            if position < len(glob) and glob[position] == "/":
                steps.append(("folders", ""))
                position += 1
            else:
                steps.append(("all", ""))
            continue
        char = glob[position]
        kinds: dict[str, Literal["part", "any"]] = {"*": "part", "?": "any"}
        steps.append((kinds.get(char, "char"), char))
        position += 1
    return Glob(tuple(steps))


def is_chosen(path: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    """Tell whether a path is chosen: `include` is empty or matches it, and `exclude` does not match it."""
    includes = tuple(include)
    if includes and not any(parse_glob(glob).matches(path) for glob in includes):
        return False
    return not any(parse_glob(glob).matches(path) for glob in exclude)
