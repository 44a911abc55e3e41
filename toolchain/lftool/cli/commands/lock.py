"""`lftool lock`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lftool.cli.shared_options import json_option, note, print_json, project_option, say
from lftool.models.terminal import verbosity

if TYPE_CHECKING:
    from lftool.ops.lock import LockResult


@click.command("lock")
@project_option
@click.option("--check", is_flag=True, help="Check that the lock matches the recipe. Works offline, writes nothing.")
@click.option(
    "--upgrade",
    is_flag=False,
    flag_value="*",
    multiple=True,
    metavar="[NAME]",
    help="Update the pin of a source, tool:NAME or plugin:NAME; without NAME, update all.",
)
@click.option(
    "--record",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Take outputs from a bundle built elsewhere; may be repeated.",
)
@click.option(
    "--editable",
    multiple=True,
    metavar="DISTRIBUTION",
    help="Pin a plugin as editable while you develop it: editing it does not invalidate the lock. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Print the changes without writing them.")
@json_option
def command(
    project: Path | None,
    check: bool,
    upgrade: tuple[str, ...],
    record: tuple[Path, ...],
    editable: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Pin every input and tool that the recipe names; keep pins and outputs that still fit."""
    from lftool.ops.lock_check import check_files, check_lock
    from lftool.ops.project import files_of, find_project, open_ports
    from lftool.ops.user_configuration import read_configuration
    from lftool.ops.user_store import open_store
    from lftool.pipeline.parallel import apart
    from lftool.pipeline.pinned import missing_plugins

    if editable and (check or record):
        raise click.UsageError("--editable cannot be used with --check or --record")
    if sum([check, bool(upgrade), bool(record)]) > 1 or (dry_run and (check or record)):
        raise click.UsageError(
            "use only one of --check, --upgrade and --record; --dry-run cannot be used with --check or --record"
        )
    found = find_project(project)
    if check:
        missing = missing_plugins(check_lock(found))
        check_files(found, files_of(found, read_configuration()), open_store())
        if as_json:
            print_json({"fresh": True, "missing_plugins": missing})
        else:
            note("lftool.lock is fresh")
            for text in missing:
                note(text)
        return
    ports = open_ports(found)
    if record:
        from lftool.ops.lock_record import record_bundles

        targets = apart(lambda: record_bundles(found, record, ports), ports)
        if as_json:
            print_json({"recorded": list(targets)})
        else:
            note(f"recorded: {', '.join(targets)}")
        return
    from lftool.ops.lock import lock_project

    result = apart(
        lambda: lock_project(found, ports, upgrade=_names(upgrade), editable=editable, dry_run=dry_run), ports
    )
    if as_json:
        print_json({"changes": list(result.changes), "written": result.written})
        return
    _show(result)
    note("wrote lftool.lock" if result.written else "nothing written" if dry_run else "lftool.lock is unchanged")


def _show(result: LockResult) -> None:
    for line in result.summary:
        say((line[:9], "good"), line[9:])
    for line in result.changes if verbosity() > 0 else ():
        say((line, "dim"))


def _names(upgrade: tuple[str, ...]) -> set[str] | None:
    if not upgrade:
        return None
    return set() if "*" in upgrade else set(upgrade)
