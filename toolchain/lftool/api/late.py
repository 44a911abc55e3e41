"""Names that are imported when they are used first: all of the API together takes as long as a small command."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def late(module: str, modules: Mapping[str, tuple[str, ...]]) -> Callable[[str], object]:
    """Return the `__getattr__` of a module whose names stand in other modules.

    Args:
        module: Its name.
        modules: Module to its names.
    """
    places = {name: place for place, names in modules.items() for name in names}

    def found(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value: object = getattr(import_module(places[name]), name)
        setattr(sys.modules[module], name, value)
        return value

    return found
