"""`lftool init`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.cli.shared_options import note


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--name", help="Name of the bundle; default: name of the folder.")
def command(directory: Path, name: str | None) -> None:
    """Write a starter recipe into DIRECTORY (default: the current folder).

    If DIRECTORY has exactly one GGUF, or exactly one signing key, the recipe names it.
    """
    from lftool.api import QuantizerType
    from lftool.host.registry import Registry
    from lftool.ops.init import start_project

    quantizes = bool(Registry.discovered().all(QuantizerType))
    note(f"wrote {start_project(directory, name, quantizes=quantizes)}; next: lftool lock")
