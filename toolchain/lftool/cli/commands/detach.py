"""`lftool detach`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.cli.shared_options import bundle_argument, json_option, print_json, say


@click.command("detach")
@bundle_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Folder; default: this one."
)
@json_option
def command(bundle: Path, output: Path | None, as_json: bool) -> None:
    """Write the bare GGUF of BUNDLE, and a sidecar with everything else: lock, provenance, signatures.

    The GGUF has the digest that it had before packing, and every tool takes it. With NAME.lftool beside it, `verify`, `run`
    and others take it as the bundle, and `lftool attach` makes the same bundle again.
    """
    from lftool.ops.bundles.detaching import detach_bundle

    written = detach_bundle(bundle, output or Path())
    if as_json:
        print_json({"files": [str(path.absolute()) for path in written]})
        return
    for path in written:
        say(str(path))
