"""`lftool outdated`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lftool.cli.shared_options import json_option, print_json, project_option, say

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.ops.outdated import SourceState

_MOST_SHOWN = 5


@click.command("outdated")
@project_option
@json_option
def command(project: Path | None, as_json: bool) -> None:
    """Show which locked refs have moved. Changes nothing."""
    from lftool.ops.outdated import outdated
    from lftool.ops.project import find_project, open_ports

    found = find_project(project)
    states = outdated(found, open_ports(found))
    if as_json:
        print_json({"sources": [_as_json(state) for state in states]})
        return
    for state in states:
        say(f"{state.name}  {state.uri}  {_text(state)}")


def _text(state: SourceState) -> str:
    if not state.moved:
        return "unknown until fetched" if state.unknown else "as locked"
    parts = []
    if state.current is not None and state.current != state.locked:
        parts.append(f"{state.locked[:19]} → {state.current[:19]}")
    if state.changed:
        more = f" and {len(state.changed) - _MOST_SHOWN} more" if len(state.changed) > _MOST_SHOWN else ""
        parts.append(f"changed: {', '.join(state.changed[:_MOST_SHOWN])}{more}")
    return "; ".join(parts)


def _as_json(state: SourceState) -> dict[str, object]:
    return {
        "source": state.name,
        "uri": state.uri,
        "locked": state.locked,
        "current": state.current,
        "changed": list(state.changed),
        "moved": state.moved,
        "unknown": state.unknown,
    }
