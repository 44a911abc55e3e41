"""`lftool plugins`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftool.cli.shared_options import WholeHelpGroup, counted, json_option, note, print_json, say, wrapped

if TYPE_CHECKING:
    from lftool.host.discovery import Plugin


@click.group("plugins", cls=WholeHelpGroup)
def command() -> None:
    """Show, check, test and create plugins."""


@command.command("list")
@json_option
def list_plugins(as_json: bool) -> None:
    """List plugins: where they come from, what they provide, and why one cannot be used."""
    from lftool.cli.main import COMMANDS
    from lftool.host.discovery import discover
    from lftool.ops.plugins import problems

    plugins = discover()
    wrong = {plugin.origin.entry_point: plugin.reason for plugin in plugins if plugin.reason}
    for problem in problems(plugins, COMMANDS):
        wrong.setdefault(problem.plugin, problem.text)
    if as_json:
        print_json({"plugins": [_as_json(plugin, wrong.get(plugin.origin.entry_point, "")) for plugin in plugins]})
        return
    for plugin in plugins:
        origin = plugin.origin
        reason = f": {wrong[origin.entry_point]}" if origin.entry_point in wrong else ""
        say(f"{origin.entry_point}  {origin.distribution} {origin.version}  {plugin.status}{reason}")
        rows = [(_kind(hook), record.name, record.summary) for hook, record in plugin.records]
        for line in wrapped(rows, "    ") if rows else ():
            say(line)


@command.command("show")
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show everything about plugin NAME.

    Prints its records, schemes, file types, options with types and defaults, and the digest that locks pin.
    """
    from lftool.host.discovery import discover
    from lftool.ops.plugins import digest_of, find_plugin, offers

    plugin = find_plugin(discover(), name)
    origin, digest, found = plugin.origin, digest_of(plugin), offers(plugin)
    if as_json:
        import attrs

        shown = {**_as_json(plugin, plugin.reason), "sha256": digest}
        print_json({**shown, "provides": [attrs.asdict(offer) for offer in found]})
        return
    reason = f": {plugin.reason}" if plugin.reason else ""
    say(f"{origin.entry_point}  {origin.distribution} {origin.version}  {plugin.status}{reason}")
    say(f"  module  {origin.module}")
    say(f"  sha256  {digest or 'built in: locks do not pin it'}")
    for offer in found:
        say(f"  {offer.kind} {offer.name}: {offer.summary}")
        for field, value in offer.fields.items():
            say(f"    {field}  {', '.join(map(str, value)) if isinstance(value, list) else value}")
        for option in offer.options:
            default = "required" if option.default is None else f"default {option.default}"
            say(f"    option {option.name}  {option.type}, {default}{'  ' + option.doc if option.doc else ''}")


@command.command("new")
@click.argument("name")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    default=("source",),
    show_default=True,
    type=click.Choice(["source", "quantizer", "layout", "observer", "check", "exporter", "command"]),
    help="What the plugin provides; may be repeated.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=".",
    metavar="DIR",
    help="Folder to create the project in; default: the current one.",
)
def new(name: str, kinds: tuple[str, ...], into: Path) -> None:
    """Create a plugin project called NAME that installs and passes its tests."""
    from lftool.ops.plugin_project import new_plugin

    for path in new_plugin(name, kinds, into):
        say(str(path))


@command.command("test", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- PYTEST_ARGUMENTS]")
def test(name: str, arguments: tuple[str, ...]) -> int:
    """Run the conformance kits against an installed plugin, with the examples that it declares.

    Needs pytest: pip install 'lftool[testing]'.
    """
    from lftool.ops.plugins import test_command

    return subprocess.run(test_command(name, arguments), check=False).returncode


@command.command("check")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def check(names: tuple[str, ...]) -> int:
    """Check that plugins load and are compatible.

    Checks imports, API version, hooks, option types and name conflicts, in every plugin unless you name some.
    """
    from lftool.cli.main import COMMANDS
    from lftool.errors import ExitStatus
    from lftool.host.discovery import discover
    from lftool.ops.plugins import find_plugin, problems

    plugins = discover()
    wanted = {find_plugin(plugins, name).origin.entry_point for name in names}
    found = [problem for problem in problems(plugins, COMMANDS, resolve=True) if not wanted or problem.plugin in wanted]
    for problem in found:
        note(f"{problem.plugin}: {problem.text}")
        for line in problem.detail.splitlines():
            note(f"  {line}")
    checked = len(wanted or plugins)
    say(f"{counted(checked, 'plugin')} checked, {counted(len(found), 'problem')}")
    return int(ExitStatus.UNAVAILABLE if found else ExitStatus.OK)


def _kind(hook: str) -> str:
    from lftool.ops.plugins import kind_of

    return kind_of(hook)


def _as_json(plugin: Plugin, reason: str) -> dict[str, Any]:
    origin = plugin.origin
    return {
        "plugin": origin.entry_point,
        "distribution": origin.distribution,
        "version": origin.version,
        "module": origin.module,
        "status": plugin.status,
        "reason": reason,
        "provides": [
            {"kind": hook.removeprefix("lftool_"), "name": record.name, "summary": record.summary}
            for hook, record in plugin.records
        ],
    }
