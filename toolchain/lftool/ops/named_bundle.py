"""`lftool pack X`: a bundle of a model without a recipe."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.errors import UsageError
from lftool.models.lock import LOCK_NAME, RECIPE_NAME
from lftool.ops.build import BuildOptions, build_project
from lftool.ops.lock import lock_project
from lftool.ops.named_model import named_project
from lftool.ops.project import open_ports
from lftool.store.durable import durable_file, storage_errors, write_durably

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.pipeline.stages.finished import BuiltBundle

_PIECE = 1 << 20


@frozen(kw_only=True)
class PackOptions:
    """How to pack.

    Attributes:
        quantize: File types, one bundle each; none for the weights as they are.
        output: The bundle's file, or an existing folder.
        layout: The layout.
        keep: Leave recipe and lock in this folder; None leaves them in the cache.
        sign_key: Path of a private key to sign with.
        upgrade: Whether to ask again what a URI means.
    """

    quantize: tuple[str, ...] = ()
    output: Path = Path()
    layout: str = "gguf"
    keep: Path | None = None
    sign_key: Path | None = None
    upgrade: bool = False


def _place(built: Sequence[BuiltBundle], output: Path) -> list[Path]:
    """Move bundles to where they were asked for; return their paths."""
    if not output.is_dir():
        if len(built) > 1:
            raise UsageError(f"{output} is no folder, and there are {len(built)} bundles", hints=("make it: mkdir",))
        places = [output]
    else:
        places = [output / item.path.name for item in built]
    for item, place in zip(built, places, strict=True):
        with durable_file(place.absolute().parent, "bundle") as out:
            with storage_errors("write", place), item.path.open("rb") as made:
                shutil.copyfileobj(made, out.file, _PIECE)
            out.commit(place, mode=item.path.stat().st_mode & 0o777)
        item.path.unlink()
    return places


def pack(text: str, options: PackOptions) -> list[tuple[Path, BuiltBundle]]:
    """Make a bundle of a model: a path, or the URI of a source.

    Raises:
        UsageError: There is no such model, or several.
        LftoolError: Whatever locking and building raise.
    """
    named = named_project(text, open_ports(None), options.quantize, options.layout, upgrade=options.upgrade)
    project = named.project
    if options.keep is not None:
        for name in (RECIPE_NAME, LOCK_NAME):
            if (options.keep / name).exists():
                raise UsageError(f"{options.keep / name} already exists")
    ports = open_ports(project, roots=named.roots)
    lock_project(project, ports, upgrade=() if named.upgrade and project.lock_path.exists() else None)
    folder = project.root / "dist"
    built = build_project(project, ports, BuildOptions(output=folder, sign_key=options.sign_key))
    placed = _place(built, options.output)
    if options.keep is not None:
        write_durably(options.keep / LOCK_NAME, (project.root / LOCK_NAME).read_bytes(), "lock")
        write_durably(options.keep / RECIPE_NAME, (project.root / RECIPE_NAME).read_bytes(), "recipe")
    return list(zip(placed, built, strict=True))
