"""The licences of all that is compiled into a native runtime, as `--licenses` prints them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NOTE = """\
This executable holds llama.cpp (MIT) and the libraries that it carries, whose licences follow, and lftool's own code
(Apache-2.0). It is linked with the GNU C and C++ libraries (LGPL-2.1, and GPL-3.0 with the runtime exception). The lock in
the bundle names the archive of its sources; `lftool runtime build` compiles and links it again from them.
"""
_PAGE_NOTE = """\
The web page was made with the packages below. What is in it comes from some of them; the others are tools.
"""
_MODULES = "node_modules"
_LICENSE = re.compile(r"(licen[sc]e|notice|copying)", re.IGNORECASE)


def licenses(tree: Path) -> str:
    """Return the licences of what is compiled in, one after the other.

    Args:
        tree: Sources of llama.cpp; with the packages of its web page, if npm has installed them.
    """
    files = [tree / "LICENSE", *sorted((tree / "licenses").glob("*")), *sorted((tree / "vendor").rglob("LICENSE*"))]
    parts = [_NOTE, *(_entry([path.relative_to(tree).as_posix()], path) for path in files)]
    page = tree / "tools" / "ui"
    if (page / _MODULES).is_dir():
        parts += [_PAGE_NOTE, *_of_packages(page)]
    return "\n\n".join(parts)


def _entry(names: list[str], path: Path) -> str:
    heads = "\n".join(f"== {name}" for name in names)
    return f"{heads}\n\n{path.read_text(errors='replace')}"


def _of_packages(page: Path) -> list[str]:
    """Return the licences of installed packages; those with the same text share it."""
    same: dict[bytes, list[Path]] = {}
    for path in sorted((page / _MODULES).rglob("*")):
        if _LICENSE.match(path.name) and _is_package(path.parent) and path.is_file():
            same.setdefault(path.read_bytes(), []).append(path)
    return [_entry([path.relative_to(page).as_posix() for path in paths], paths[0]) for paths in same.values()]


def _is_package(folder: Path) -> bool:
    """Return whether a folder is node_modules/NAME or node_modules/@SCOPE/NAME."""
    above = folder.parent
    return above.name == _MODULES or (above.name.startswith("@") and above.parent.name == _MODULES)
