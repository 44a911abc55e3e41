"""Modules as plugins without an installation: each becomes a distribution, made by hand in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

_VERSION = "0"


def register(module: ModuleType, folder: Path) -> None:
    """Copy a module or a package into a folder, and describe it as an installed distribution.

    Args:
        module: A top-level module with a file.
        folder: A folder on the `sys.path` of the process that looks for plugins.

    Raises:
        ValueError: The module is part of a package, or has no file.
    """
    name, file = module.__name__, getattr(module, "__file__", None)
    if "." in name or file is None:
        raise ValueError(f"{name} is no module at the top level with a file of its own")
    source, title = Path(file), name.replace("_", "-")
    folder.mkdir(parents=True, exist_ok=True)
    if source.name == "__init__.py":
        copy = folder / name
        shutil.copytree(source.parent, copy, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        files = sorted(path for path in copy.rglob("*") if path.is_file())
    else:
        files = [folder / source.name]
        shutil.copyfile(source, files[0])
    info = folder / f"{name}-{_VERSION}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {title}\nVersion: {_VERSION}\n")
    (info / "entry_points.txt").write_text(f"[lftool]\n{title} = {name}\n")
    listed = [path.relative_to(folder).as_posix() for path in [*files, info / "METADATA", info / "entry_points.txt"]]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in [*listed, f"{info.name}/RECORD"]))
