"""`lftool export`: one command for every exporter that a plugin offers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftool.cli.option_classes import given, options_of
from lftool.cli.shared_options import bundle_argument, json_option, note, print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from lftool.api import ExporterType
    from lftool.host.registry import Registered


class _Exporters(click.Group):
    """The exporters that are installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return their names."""
        from lftool.api import ExporterType
        from lftool.host.registry import Registry

        return [item.record.name for item in Registry.discovered().all(ExporterType)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of one."""
        from lftool.api import ExporterType
        from lftool.errors import UsageError
        from lftool.host.registry import Registry

        if ctx.resilient_parsing and cmd_name not in self.list_commands(ctx):
            return None
        return _command(Registry.discovered().get(ExporterType, cmd_name, UsageError))


@click.group("export", cls=_Exporters)
def command() -> None:
    """Write a bundle as a container image, or manifests that run the image. Plugins add more."""


def _command(registered: Registered[ExporterType]) -> click.Command:
    record = registered.record
    options = options_of(record.options_class)
    if record.writes == "folder":
        name = click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
        told = "Checks every byte of BUNDLE first."
        made: Callable[..., None] = _to_folder(registered)
        decorators = [bundle_argument, name, *options, json_option]
    else:
        output = click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write to FILE; default: standard output.",
        )
        told = "Checks every byte of BUNDLE first. Prints to standard output unless you give -o."
        made = _to_file(registered)
        decorators = [bundle_argument, *options, output]
    for decorator in reversed(decorators):
        made = decorator(made)
    summary = record.summary[0].upper() + record.summary[1:]
    return click.command(record.name, help=f"{summary}.\n\n{told}", short_help=f"{summary}.")(made)


def _to_folder(registered: Registered[ExporterType]) -> Callable[..., None]:
    def run(bundle: Path, directory: Path, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - of the plugin's class
        from lftool.ops.export import export_bundle
        from lftool.ops.user_store import open_store

        made = export_bundle(registered, bundle, directory, given(options), open_store())
        if as_json:
            print_json({**made.data, "path": str(directory.absolute())})
            return
        if made.text:
            say(made.text)
        for text in made.notes:
            note(text)

    return run


def _to_file(registered: Registered[ExporterType]) -> Callable[..., None]:
    def run(bundle: Path, output: Path | None, **options: Any) -> None:  # noqa: ANN401 - of the plugin's class
        from lftool.ops.export import export_bundle
        from lftool.ops.user_store import open_store
        from lftool.store.durable import write_durably

        made = export_bundle(registered, bundle, None, given(options), open_store())
        if output is None:
            click.echo(made.text, nl=False)
        else:
            write_durably(output, made.text.encode(), "extract")
            note(f"wrote {output}")
        for text in made.notes:
            note(text)

    return run
