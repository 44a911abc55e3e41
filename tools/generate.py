"""Write what is generated from the code: JSON Schemas, the command-line and the API reference. `--check` only compares."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import click
from api_pages import page as api_page

from lftool.cli.main import cli
from lftool.codec.schemas import SCHEMAS
from lftool.ops.schema import schema_of

ROOT = Path(__file__).resolve().parent.parent


def schema_files() -> dict[Path, str]:
    """Return path to content of every schema."""
    return {
        ROOT / "schemas" / f"{name}.v1.schema.json": json.dumps(schema_of(name), indent=2, sort_keys=True) + "\n"
        for name in SCHEMAS
    }


def _commands(command: click.Command, path: list[str], parent: click.Context | None) -> list[tuple[list[str], str]]:
    context = click.Context(command, info_name=path[-1], parent=parent, **command.context_settings)
    if path[1:]:
        context.max_content_width = 100
    context.terminal_width = 100
    found = [(path, command.get_help(context))]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                found += _commands(child, [*path, name], context)
    return found


def cli_reference() -> str:
    """Return the command-line reference: the help of every command."""
    parts = ["# Command line\n\nGenerated from the commands' own help by `make generate`.\n"]
    for path, text in _commands(cli, ["lftool"], None):
        parts.append(f"## `{' '.join(path)}`\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


def generated() -> dict[Path, str]:
    """Return path to content of all generated files."""
    reference = ROOT / "docs" / "reference"
    return {**schema_files(), reference / "cli.md": cli_reference(), reference / "plugin-api-names.md": api_page()}


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for path, content in generated().items():
        if check and (not path.exists() or path.read_text() != content):
            stale.append(str(path.relative_to(ROOT)))
        elif not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run `make generate`")


if __name__ == "__main__":
    main()
