"""`lftool check`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lftool.cli.shared_options import json_option, note, print_json, project_option, say

if TYPE_CHECKING:
    from lftool.ops.checks.report import CheckReport


@click.command("check")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BUNDLE...")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write the results as JUnit XML.")
@click.option("--backend", metavar="NAME", help="Backend to use; auto: the best available; default: the bundle's.")
@project_option
@json_option
def command(
    bundles: tuple[Path, ...], junit: Path | None, backend: str | None, project: Path | None, as_json: bool
) -> None:
    """Run the recipe's [[checks]] against bundles: answers, formats, embeddings, rankings, perplexity, time to first token.

    A folder stands for the bundles in it.
    """
    from lftool.ops.bundles.folders import bundles_of
    from lftool.ops.checks.check import check_bundles
    from lftool.ops.checks.junit import junit_xml
    from lftool.ops.checks.report import raise_if_failed
    from lftool.ops.project import find_project, open_ports
    from lftool.store.durable import write_durably

    found = find_project(project)
    ports = open_ports(found)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # CI's time is up: end the servers, too
    reports: list[CheckReport] = []
    try:
        error = check_bundles(bundles_of(bundles), found, ports, backend, reports)
    finally:
        if junit is not None:
            write_durably(junit, junit_xml(reports), "extract")
    if as_json:
        print_json({"bundles": [_as_json(report) for report in reports]})
    else:
        for report in reports:
            _show(report)
    if junit is not None:
        note(f"wrote {junit}")
    if error is not None:
        for report in reports:
            if report.error is not None and len(reports) > 1:
                note(f"{report.bundle}: {report.error}")
        raise error
    raise_if_failed(reports)


def _as_json(report: CheckReport) -> dict[str, object]:
    return {
        "bundle": report.bundle,
        "target": report.target,
        "error": report.error,
        "asked": report.asked or None,
        "checks": [
            {
                "name": result.name,
                "holds": result.failure is None,
                "made": result.made,
                "failure": result.failure,
                "detail": result.detail or None,
                "seconds": round(result.seconds, 3),
            }
            for result in report.results
        ],
    }


def _show(report: CheckReport) -> None:
    from lftool.ops.checks.report import beginning

    nothing = f": no checks for target {report.target}" if report.error is None else ": not checked"
    asked = f"  ({report.asked})" if report.asked else ""
    say(f"{report.bundle}{asked}" if report.results else f"{report.bundle}{nothing}")
    for result in report.results:
        what = beginning(result.detail) if result.failure is None else result.failure
        state = "passes" if result.failure is None else "FAILS" if result.made else "error"
        say(f"  {state}  {result.name}: {what.strip()}")
