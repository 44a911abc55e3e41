"""`lftool cache`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from lftool.cli.shared_options import WholeHelpGroup, json_option, note, print_json, project_option, say, size_text

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.store.store import Store

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?)(i?)B?\Z")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class SizeType(click.ParamType[int]):
    """A size such as 20G, 500MB or 1GiB; decimal unless an i says otherwise."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the size in bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.match(str(value))
        if match is None:
            self.fail(f"{value!r} is not a size; write 20G, 500MB or 1GiB", param, ctx)
        number, unit, binary = match.groups()
        return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.upper()])


def _store() -> Store:
    from lftool.ops.user_store import open_store

    return open_store()


@click.group("cache", cls=WholeHelpGroup)
def command() -> None:
    """Manage the cache of sources and results."""


@command.command("size")
@json_option
def size(as_json: bool) -> None:
    """Show where the cache is and how much space it uses."""
    from lftool.store.collect import measure

    store = _store()
    usage = measure(store)
    if as_json:
        print_json(
            {
                "path": str(store.root),
                "blobs": usage.blobs,
                "bytes": usage.bytes,
                "actions": usage.actions,
                "quarantined_bytes": usage.quarantined,
                "partial_bytes": usage.partial,
            }
        )
        return
    say(
        f"{store.root}: {size_text(usage.bytes)} in {usage.blobs} blobs, {usage.actions} actions, {size_text(usage.quarantined)} set aside,"
        f" {size_text(usage.partial)} half fetched"
    )


@command.command("verify")
@json_option
def verify(as_json: bool) -> int:
    """Check every blob, and set corrupted ones aside so that the next build makes them again."""
    from lftool.errors import ExitStatus
    from lftool.store.collect import verify_all

    found = verify_all(_store())
    if as_json:
        print_json(
            {"blobs": found.blobs, "bytes": found.bytes, "corrupted": [digest.hex for digest in found.corrupted]}
        )
    else:
        for digest in found.corrupted:
            say(f"corrupted, set aside: {digest}")
        say(f"{found.blobs} blobs, {size_text(found.bytes)} read, {len(found.corrupted)} corrupted")
    return int(ExitStatus.INTEGRITY if found.corrupted else ExitStatus.OK)


@command.command("gc")
@click.option(
    "--max-size",
    type=SizeType(),
    default=100 * 1024**3,
    show_default="100GiB",
    metavar="SIZE",
    help="Keep at most this much, removing the least recently used first.",
)
@json_option
def collect(max_size: int, as_json: bool) -> None:
    """Remove the least recently used blobs. Does nothing while another lftool uses the cache."""
    from lftool.store.collect import collect as collect_garbage

    done = collect_garbage(_store(), max_size)
    if as_json:
        print_json(
            {
                "removed_blobs": done.removed_blobs,
                "removed_bytes": done.removed_bytes,
                "kept_bytes": done.kept_bytes,
                "busy": done.busy,
            }
        )
    elif done.busy:
        say("another lftool is using the cache; nothing removed")
    else:
        say(f"removed {done.removed_blobs} blobs, {size_text(done.removed_bytes)}; {size_text(done.kept_bytes)} kept")


@command.command("push")
@click.option("--force", is_flag=True, help="Also send what the store already has, in case its copy is damaged.")
@project_option
@json_option
def push(project: Path | None, force: bool, as_json: bool) -> None:
    """Send what the lock pins, and what was built from it, to the remote store in LFTOOL_REMOTE_STORE."""
    from lftool.ops.project import find_project, open_ports
    from lftool.ops.push import push_project
    from lftool.pipeline.parallel import apart

    found = find_project(project)
    ports = open_ports(found)
    done = apart(lambda: push_project(found, ports, force=force), ports)
    if as_json:
        print_json({"files": done.files, "bytes": done.bytes, "present": done.present, "unbuilt": list(done.unbuilt)})
        return
    say(f"{done.files} files sent, {size_text(done.bytes)}; {done.present} already there")
    if done.unbuilt:
        note(f"not built on this machine, so not sent: {', '.join(done.unbuilt)}")
