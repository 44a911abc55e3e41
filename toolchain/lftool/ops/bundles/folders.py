"""Bundles by the names that people give: a file, or a folder of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.bundle.bundle_files import files_in, stem_of
from lftool.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def bundles_of(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return files as they are, and of each folder the bundles that lie in it, by name.

    Raises:
        UsageError: There is no bundle in a folder.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [file for file in files_in(path) if stem_of(file)]
        if not inside:
            raise UsageError(f"there is no bundle in {path}", hints=("build some: lftool build",))
        found += inside
    return tuple(found)
