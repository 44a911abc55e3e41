"""`lftool init`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.cli.shared_options import note


@click.command("init")
@click.argument("what", metavar="[X]", default=".")
@click.option("--name", help="Name of the bundle; default: the model's own, else the folder's.")
def command(what: str, name: str | None) -> None:
    """Write a starter recipe that locks and builds at once.

    X is a model (a GGUF or a folder of safetensors), or a project folder with one model in it (default: the current
    folder). Name, licence and context come from the model. Weights that are already quantised are packed as they are.
    If the folder has exactly one signing key, the recipe uses it.
    """
    from lftool.host.registry import Registry
    from lftool.ops.init import Tools, start_project
    from lftool.ops.user_configuration import read_configuration

    started = start_project(what, name, Tools.of(Registry.discovered()), roots=read_configuration().roots)
    for line in started.told:
        note(line)
    folder = started.path.parent
    where = "" if folder == Path() else f" --project {folder}"
    note(f"wrote {started.path}; next: lftool lock{where}")
