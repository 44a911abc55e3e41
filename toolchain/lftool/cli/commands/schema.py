"""`lftool schema`."""

from __future__ import annotations

import click

from lftool.cli.shared_options import print_json


@click.command("schema")
@click.argument("name", type=click.Choice(["recipe", "lock", "manifest"]))
def command(name: str) -> None:
    """Print the JSON Schema of the recipe, the lock or the bundle manifest."""
    from lftool.ops.schema import schema_of

    print_json(schema_of(name))
