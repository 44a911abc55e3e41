"""`lftool check`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from lftool.cli.options import json_option, note, print_json, project_option, say


@click.command("check")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BUNDLE...")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write the results as JUnit XML.")
@click.option("--backend", metavar="NAME", help="Backend to use; auto: the best that is here; default: the bundle's.")
@project_option
@json_option
def command(
    bundles: tuple[Path, ...], junit: Path | None, backend: str | None, project: Path | None, as_json: bool
) -> None:
    """Hold bundles against the recipe's [[checks]]: answers, formats, embeddings, perplexity, time to first token."""
    from lftool.ops.bundle_checks import CheckReport, check_bundle, raise_if_failed
    from lftool.ops.junit import junit_xml
    from lftool.ops.project import find_project, open_ports
    from lftool.store.durable import write_durably

    found = find_project(project)
    ports = open_ports(found)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # CI's time is up: end the servers, too
    reports: list[CheckReport] = []
    try:
        for bundle in bundles:
            reports.append(CheckReport(bundle=bundle.name))
            check_bundle(reports[-1], bundle, found, ports, backend)
    finally:
        if junit is not None:
            write_durably(junit, junit_xml(reports), "extract")
    if as_json:
        print_json(
            {
                "bundles": [
                    {
                        "bundle": report.bundle,
                        "target": report.target,
                        "checks": [
                            {
                                "name": result.name,
                                "holds": result.failure is None,
                                "failure": result.failure,
                                "detail": result.detail or None,
                                "seconds": round(result.seconds, 3),
                            }
                            for result in report.results
                        ],
                    }
                    for report in reports
                ]
            }
        )
    else:
        for report in reports:
            say(report.bundle if report.results else f"{report.bundle}: no check is for target {report.target}")
            for result in report.results:
                what = result.detail if result.failure is None else result.failure
                say(f"  {'holds' if result.failure is None else 'FAILS'}  {result.name}: {what.strip()}")
    if junit is not None:
        note(f"wrote {junit}")
    raise_if_failed(reports)
