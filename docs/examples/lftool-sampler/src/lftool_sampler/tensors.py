"""The command `lftool tensors`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.api import StorageError
from lftool.api.gguf import read_gguf


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    """Say how many tensors GGUF files have."""
    for path in files:
        try:
            with path.open("rb") as file:
                header = read_gguf(file, path.stat().st_size, path.name)
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        click.echo(f"{path.name}: {len(header.tensors)} tensors")
