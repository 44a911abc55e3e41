"""`lftool pack X`: a bundle of a model without a recipe."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.codec.recipes import parse_recipe
from lftool.errors import UsageError
from lftool.models.lock import LOCK_NAME, RECIPE_NAME
from lftool.ops.build import BuildOptions, build_project, with_own_key
from lftool.ops.init import uri_of
from lftool.ops.lock import lock_project
from lftool.ops.named_model import NamedProject, is_remote, local_model, named_project, recipe_of
from lftool.ops.project import Project, open_ports
from lftool.ops.user_configuration import read_configuration
from lftool.store.durable import durable_file, scratch_directory, storage_errors, write_durably

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.pipeline.stages.finished import BuiltBundle

_PIECE = 1 << 20


@frozen(kw_only=True)
class PackOptions:
    """How to pack.

    Attributes:
        quantize: File types, one bundle each; none for the weights as they are.
        output: A folder, or the file of the only bundle: a path with a suffix that is no folder.
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


def _folder_of(options: PackOptions) -> Path | None:
    """Return the folder for the bundles; None if `output` is the file of the only one.

    Raises:
        UsageError: There are several, and `output` is a file.
    """
    output, count = options.output, max(1, len(options.quantize))
    if output.is_dir() or (not output.exists() and (not output.suffix or count > 1)):
        return output
    if count > 1:
        raise UsageError(
            f"{output} is a file, but there are {count} bundles to write", hints=("name a folder: -o DIRECTORY",)
        )
    return None


def _place(built: Sequence[BuiltBundle], folder: Path | None, output: Path) -> list[Path]:
    """Move bundles to where they were asked for; return their paths."""
    places = [output if folder is None else folder / item.path.name for item in built]
    for item, place in zip(built, places, strict=True):
        with durable_file(place.absolute().parent, "bundle") as out:
            with storage_errors("write", place), item.path.open("rb") as made:
                shutil.copyfileobj(made, out.file, _PIECE)
            out.commit(place, mode=item.path.stat().st_mode & 0o777)
        item.path.unlink()
    return places


def _kept_project(text: str, options: PackOptions, keep: Path) -> Project:
    """Write the recipe of a model at a path into the folder that keeps it; return that project.

    Raises:
        UsageError: The file lies outside that folder, and outside the user's roots.
    """
    model, path = local_model(Path(text)), Path(text)
    uri = uri_of(path.parent if model.include else path, keep, read_configuration().roots)
    data = recipe_of(attrs.evolve(model, uri=uri), options.quantize, options.layout)
    write_durably(keep / RECIPE_NAME, data, "recipe")
    return Project(root=keep, recipe=parse_recipe(data, RECIPE_NAME))


def pack(text: str, options: PackOptions) -> list[tuple[Path, BuiltBundle]]:
    """Make a bundle of a model: a path, or the URI of a source.

    Raises:
        UsageError: There is no such model, or several; or the bundle has no place.
        LftoolError: Whatever locking and building raise.
    """
    folder, keep = _folder_of(options), options.keep
    for name in (RECIPE_NAME, LOCK_NAME) if keep is not None else ():
        if keep is not None and (keep / name).exists():
            raise UsageError(f"{keep / name} already exists")
    if keep is not None and not is_remote(text):
        named = NamedProject(project=_kept_project(text, options, keep))
    else:
        named = named_project(text, open_ports(None), options.quantize, options.layout, upgrade=options.upgrade)
    project = with_own_key(named.project, options.sign_key)
    ports = open_ports(project, roots=named.roots)
    try:
        lock_project(project, ports, upgrade=() if named.upgrade and project.lock_path.exists() else None)
        with scratch_directory(ports.store.temporary) as made:
            built = build_project(project, ports, BuildOptions(output=made, sign_key=options.sign_key))
            placed = _place(built, folder, options.output)
    except BaseException:
        if project.root == keep:  # neither was there before
            for name in (RECIPE_NAME, LOCK_NAME):
                (keep / name).unlink(missing_ok=True)
        raise
    if keep is not None and project.root != keep:
        write_durably(keep / LOCK_NAME, (project.root / LOCK_NAME).read_bytes(), "lock")
        write_durably(keep / RECIPE_NAME, (project.root / RECIPE_NAME).read_bytes(), "recipe")
    return list(zip(placed, built, strict=True))
