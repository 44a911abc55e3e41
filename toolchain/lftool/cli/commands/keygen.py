"""`lftool keygen`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.cli.shared_options import json_option, note, print_json


@click.command("keygen")
@click.option(
    "-o",
    "--output",
    "prefix",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PREFIX",
    help="Write PREFIX.key and PREFIX.pub.",
)
@json_option
def command(prefix: Path, as_json: bool) -> None:
    """Make a P-256 key pair for signing; existing files are never overwritten."""
    from lftool.ops.keygen import make_key_pair

    private, public = make_key_pair(prefix)
    if as_json:
        print_json({"private": str(private.absolute()), "public": str(public.absolute())})
        return
    note(f"wrote {private} (keep it secret) and {public} (give it to those who verify)")
