"""`lftool build`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lftool.cli.shared_options import (
    chosen_sign_key,
    counted,
    json_option,
    note,
    print_json,
    project_option,
    say,
    show_bundle,
    sign_key_option,
)

if TYPE_CHECKING:
    from lftool.pipeline.graph.steps import Graph, Step
    from lftool.pipeline.stages.finished import BuiltBundle


@click.command("build")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@project_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for bundles; default: dist beside the recipe.",
)
@click.option("--locked", is_flag=True, help="Fail unless the lock is fresh and complete and every output matches it.")
@click.option("--frozen", is_flag=True, help="Same as --locked --offline.")
@click.option("--offline", is_flag=True, help="Do not contact remote sources.")
@click.option(
    "--vendor",
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="Look for sources in a folder or archive from `lftool vendor` first.",
)
@click.option("--trust-vendor", is_flag=True, help="Reuse the results recorded in --vendor instead of rebuilding them.")
@click.option(
    "--rebuild", is_flag=True, help="Ignore cached results: run every stage again, and compare with the lock."
)
@click.option("--dry-run", is_flag=True, help="Print the remaining steps without building.")
@click.option(
    "--graph",
    type=click.Choice(["mermaid", "svg"]),
    help="With --dry-run: draw the steps, as Mermaid or SVG, on standard output.",
)
@sign_key_option
@click.option("--no-sign", is_flag=True, help="Leave the bundle unsigned.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Threads to use; never changes a byte.")
@json_option
def command(
    *,
    targets: tuple[str, ...],
    project: Path | None,
    output: Path | None,
    locked: bool,
    frozen: bool,
    offline: bool,
    vendor: Path | None,
    trust_vendor: bool,
    rebuild: bool,
    dry_run: bool,
    graph: str | None,
    sign_key: Path | None,
    no_sign: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Build bundles: resolve, fetch, convert, quantize, pack, sign. Builds every target unless you name some."""
    from lftool.ops.build import BuildOptions, build_project, plan_project, with_own_key
    from lftool.ops.project import find_project, open_ports
    from lftool.pipeline.parallel import apart

    found = with_own_key(find_project(project), sign_key)
    options = BuildOptions(
        targets=targets,
        output=output or found.root / "dist",
        locked=locked or frozen,
        relock=sys.stdin.isatty() and sys.stderr.isatty(),
        rebuild=rebuild,
        sign=not no_sign,
        sign_key=chosen_sign_key(sign_key),
    )
    if trust_vendor and vendor is None:
        raise click.UsageError("--trust-vendor needs --vendor")
    if graph is not None and (not dry_run or as_json):
        raise click.UsageError("--graph needs --dry-run and cannot be used with --json")
    ports = open_ports(found, online=not (offline or frozen), threads=jobs)
    if vendor is not None and not dry_run:
        from lftool.ops.vendor import take_in_vendored

        apart(lambda: take_in_vendored(found, vendor, ports, trust=trust_vendor), ports)
    if dry_run:
        _show_graph(plan_project(found, ports, options), graph, as_json=as_json)
        return
    started = time.monotonic()
    built = apart(lambda: build_project(found, ports, options), ports)
    if as_json:
        print_json({"bundles": [_as_json(item) for item in built]})
        return
    for item in built:
        show_bundle(item)
    made = counted(len(built), "bundle")
    note(f"{made} in {time.monotonic() - started:.1f} s")


def _as_json(item: BuiltBundle) -> dict[str, object]:
    return {
        "target": item.target,
        "path": str(item.path),
        "size": item.artifact.size,
        "unsigned_sha256": item.unsigned.sha256.hex,
        "sha256": item.artifact.sha256.hex,
        "signed": item.signed,
    }


def _show_graph(graph: Graph, form: str | None, *, as_json: bool) -> None:
    if form is not None:
        from lftool.cli.graph_pictures import mermaid, svg

        click.echo(mermaid(graph) if form == "mermaid" else svg(graph), nl=False)
        return
    if as_json:
        before: dict[str, list[str]] = {}
        for one, other in graph.edges:
            before.setdefault(other.name, []).append(one.name)
        print_json({"steps": [_step_as_json(step, before.get(step.name, [])) for step in graph]})
        return
    for step in graph:
        state = "  cached" if step.cached else ""
        say(f"{step.stage:>9}  {', '.join(step.targets)}  {step.detail}{state}")


def _step_as_json(step: Step, before: list[str]) -> dict[str, object]:
    output = step.output
    return {
        "name": step.name,
        "stage": step.stage,
        "targets": list(step.targets),
        "detail": step.detail,
        "cached": step.cached,
        "after": before,
        "action": None if step.action is None else step.action.hex,
        "output": None if output is None else {"sha256": output.sha256.hex, "size": output.size},
    }
