"""`lftool plugins`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lftool.cli.shared_options import json_option, print_json, say

if TYPE_CHECKING:
    from lftool.host.discovery import Plugin


@click.group("plugins")
def command() -> None:
    """Show installed plugins."""


@command.command("list")
@json_option
def list_plugins(as_json: bool) -> None:
    """List plugins: where they come from, what they provide, and why one cannot be used."""
    from lftool.host.discovery import discover

    plugins = discover()
    if as_json:
        print_json({"plugins": [_as_json(plugin) for plugin in plugins]})
        return
    for plugin in plugins:
        origin = plugin.origin
        reason = f": {plugin.reason}" if plugin.reason else ""
        say(f"{origin.entry_point}  {origin.distribution} {origin.version}  {plugin.status}{reason}")
        for hook, record in plugin.records:
            say(f"    {hook.removeprefix('lftool_').rstrip('s'):<10} {record.name:<18} {record.summary}")


def _as_json(plugin: Plugin) -> dict[str, Any]:
    origin = plugin.origin
    return {
        "plugin": origin.entry_point,
        "distribution": origin.distribution,
        "version": origin.version,
        "module": origin.module,
        "status": plugin.status,
        "reason": plugin.reason,
        "provides": [
            {"kind": hook.removeprefix("lftool_"), "name": record.name, "summary": record.summary}
            for hook, record in plugin.records
        ],
    }
