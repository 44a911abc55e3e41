"""`lftool help`."""

from __future__ import annotations

import sys

import click

from lftool.cli.shared_options import say


@click.command("help")
@click.argument("topic", required=False)
def command(topic: str | None) -> None:
    """Print a documentation page, such as `lftool help recipe`. Without TOPIC, list the pages."""
    from lftool.ops.help import page, topics

    if topic is not None:
        _show(page(topic))
        return
    room = ""
    for item in topics():
        if item.room != room:
            room = item.room
            say(room)
        say(f"  {item.name:24}  {item.title}")


def _show(text: str) -> None:
    """Print Markdown: laid out for a person, as it is for a pipe."""
    if not sys.stdout.isatty():
        click.echo(text, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))
