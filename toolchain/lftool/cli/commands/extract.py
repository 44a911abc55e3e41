"""`lftool extract`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.cli.shared_options import bundle_argument, json_option, print_json, say


@click.command("extract")
@bundle_argument
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@json_option
def command(bundle: Path, directory: Path, as_json: bool) -> None:
    """Write the prefix and members of BUNDLE into DIRECTORY, after checking them all."""
    from lftool.ops.bundles.extract import extract_bundle

    written = extract_bundle(bundle, directory)
    if as_json:
        print_json({"files": [str(path.absolute()) for path in written]})
        return
    for path in written:
        say(str(path))
