"""`lftool fetch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lftool.cli.shared_options import json_option, note, print_json, project_option, size_text

if TYPE_CHECKING:
    from pathlib import Path


@click.command("fetch")
@project_option
@json_option
def command(project: Path | None, as_json: bool) -> None:
    """Fetch every file that the lock pins, so that builds need no network."""
    from lftool.ops.fetch import fetch_project
    from lftool.ops.project import find_project, open_ports
    from lftool.pipeline.parallel import apart

    found = find_project(project)
    ports = open_ports(found)
    fetched = apart(lambda: fetch_project(found, ports), ports)
    if as_json:
        print_json({"fetched": [{"path": f.path, "size": f.size, "sha256": f.sha256.hex} for f in fetched]})
        return
    note(f"{len(fetched)} files fetched, {size_text(sum(file.size for file in fetched))}; the rest was in the cache")
