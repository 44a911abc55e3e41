"""`lftool gguf`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.cli.shared_options import WholeHelpGroup, json_option, note, print_json, say


@click.group("gguf", cls=WholeHelpGroup)
def command() -> None:
    """Repair GGUF files."""


@command.command("repair")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("destination", metavar="OUT", type=click.Path(path_type=Path))
@json_option
def repair(source: Path, destination: Path, as_json: bool) -> None:
    """Write a sound copy of a GGUF that llama.cpp reads but lftool refuses, and list the changes.

    Repairs text that is not UTF-8, missing padding at the end, and bytes after the last tensor. Weights never change.
    """
    from lftool.ops.gguf import repair_gguf

    changes = repair_gguf(source, destination)
    if as_json:
        print_json({"changes": list(changes), "written": bool(changes)})
        return
    for line in changes:
        say(line)
    note(f"wrote {destination}" if changes else f"{source} is sound: nothing written")
