"""Factories that import on first use: every command imports the plugins, but most need little of them."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

_PLACE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)\Z")


class Lazy:
    """A class or a function that is imported when it is first used."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def resolve(self) -> Any:  # noqa: ANN401 - whatever has that name
        """Import and return it."""
        return getattr(import_module(self._module), self._name)

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401 - whatever the record's factory takes and makes
        """Import and call it."""
        return self.resolve()(*arguments)


def lazily(place: str) -> Lazy:
    """Return a factory that imports a class or a function and calls it with the factory's own arguments.

        SourceType(name="mem", summary="files in memory", schemes=("mem",), factory=lazily("lftool_mem.source:MemorySource"))

    Args:
        place: Module and name, `module:Class`.

    Raises:
        ValueError: `place` does not have that form.
    """
    found = _PLACE.match(place)
    if found is None:
        raise ValueError(f"{place!r} does not name a class; write 'module:Class'")
    return Lazy(*found.groups())
