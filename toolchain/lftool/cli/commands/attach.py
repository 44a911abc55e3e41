"""`lftool attach`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.cli.shared_options import json_option, print_json, say


@click.command("attach")
@click.argument("sidecar", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Bundle to write; default: NAME.llamafile or NAME.gguf; if that exists, the same in the folder `attached`.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The GGUF; default: NAME.gguf beside SIDECAR.",
)
@click.option(
    "--runtime",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The runtime; default: NAME.runtime beside SIDECAR.",
)
@json_option
def command(sidecar: Path, output: Path | None, weights: Path | None, runtime: Path | None, as_json: bool) -> None:
    """Make the bundle again that SIDECAR (NAME.lftool) and the files beside it are parts of, bit for bit."""
    from lftool.ops.bundles.detaching import attach_bundle

    written = attach_bundle(sidecar, output, weights, runtime)
    if as_json:
        print_json({"file": str(written.absolute())})
        return
    say(str(written))
