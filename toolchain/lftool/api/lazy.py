"""Factories that import what they make when it is made: a plugin is imported with every command, most of it for nothing."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_PLACE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)\Z")


def lazily(place: str) -> Callable[..., Any]:
    """Return a factory that imports a class, or a function, and calls it with what it is called with.

        SourceType(name="mem", summary="files in memory", schemes=("mem",), factory=lazily("lftool_mem.source:MemorySource"))

    Args:
        place: Module and name, `module:Class`.

    Raises:
        ValueError: It is not spelt so.
    """
    found = _PLACE.match(place)
    if found is None:
        raise ValueError(f"{place!r} does not name a class; write 'module:Class'")
    module, name = found.groups()

    def make(*arguments: Any) -> Any:  # noqa: ANN401 - whatever the record's factory takes and makes
        return getattr(import_module(module), name)(*arguments)

    return make
