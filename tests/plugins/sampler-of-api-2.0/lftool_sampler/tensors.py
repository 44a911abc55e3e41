"""The command `lftool tensors`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lftool.api import CommandContext


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_obj
def command(context: CommandContext, bundles: tuple[Path, ...]) -> None:
    """Say how many tensors bundles have, once every byte of them has been checked."""
    for path in bundles:
        with context.open_bundle(path) as bundle:
            click.echo(f"{bundle.name} {bundle.version}: {len(bundle.weights.tensors)} tensors")
