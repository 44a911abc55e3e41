"""`lftool vendor`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.cli.shared_options import json_option, note, print_json, project_option, size_text


@click.command("vendor")
@click.argument("destination", type=click.Path(path_type=Path), metavar="DIR|OUT.tar.zst")
@project_option
@json_option
def command(destination: Path, project: Path | None, as_json: bool) -> None:
    """Write everything that a locked build reads into a folder or archive, for `build --vendor` without a network."""
    from lftool.ops.project import find_project, open_ports
    from lftool.ops.vendor import vendor_project
    from lftool.pipeline.parallel import apart

    found = find_project(project)
    ports = open_ports(found)
    done = apart(lambda: vendor_project(found, destination, ports), ports)
    if as_json:
        print_json({"path": str(destination.absolute()), "files": done.files, "bytes": done.bytes})
        return
    note(
        f"{destination}: {done.files} files, {size_text(done.bytes)}; build from it: lftool build --vendor {destination}"
    )
