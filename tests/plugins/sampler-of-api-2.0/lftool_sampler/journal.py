"""The observer `journal`: events as lines of JSON, in a file that the user's configuration names."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from attrs import field, frozen

if TYPE_CHECKING:
    from lftool.api import Event


@frozen(kw_only=True)
class Options:
    """`[observers.journal]` of the user's configuration."""

    path: str | None = field(default=None, metadata={"doc": "Where to write; nowhere by default."})


class Journal:
    """Called from several threads; what it raises is said once, and ends no build."""

    def __init__(self, options: Options) -> None:
        self._path = None if options.path is None else Path(options.path).expanduser()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write one line."""
        if self._path is None:
            return
        line = json.dumps({"event": type(event).__name__, **attrs.asdict(event)})
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
