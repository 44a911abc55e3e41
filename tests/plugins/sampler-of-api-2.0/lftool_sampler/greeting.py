"""The runtime `greeting`: a shell script. Its bytes never change; a change would be number 2 beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import RuntimeParts

if TYPE_CHECKING:
    from pathlib import Path

_SCRIPT = b"#!/bin/sh\necho 'a model, and nobody here who runs it'\nexit 8\n"


class Greeting:
    """What a bundle begins with."""

    def parts(self) -> RuntimeParts:
        """Return its bytes."""
        return RuntimeParts(prefix=_SCRIPT)

    def runner(self) -> Path | None:
        """Return None: no backend could start it."""
        return None
