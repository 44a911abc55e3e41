"""`lftool rebuild`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftool.cli.shared_options import (
    chosen_sign_key,
    json_option,
    note,
    print_json,
    require_new,
    say,
    sign_key_option,
)
from lftool.errors import ExitStatus
from lftool.models.terminal_text import one_line

if TYPE_CHECKING:
    from lftool.models.terminal import Style
    from lftool.ops.rebuild.results import PartVerdict, Rebuilt

_STATUS = {
    "identical": ExitStatus.OK,
    "different": ExitStatus.NOT_REPRODUCIBLE,
    "cannot check here": ExitStatus.UNAVAILABLE,
}
_STYLE: dict[str, Style] = {"identical": "good", "different": "bad", "cannot check here": "caution"}


@click.command("rebuild")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BUNDLE...")
@click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Folder that the `file:` sources of the bundle are relative to.",
)
@click.option(
    "--vendor",
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="Take sources from a folder or archive of `lftool vendor`.",
)
@click.option("--offline", is_flag=True, help="Do not contact remote sources.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Where to leave the rebuilt bundle if it differs; default: the current folder.",
)
@click.option(
    "--statement",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT",
    help="Also write a signed statement of what came of it.",
)
@sign_key_option
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Threads to use; never changes a byte.")
@json_option
def command(
    *,
    bundles: tuple[Path, ...],
    project: Path | None,
    vendor: Path | None,
    offline: bool,
    output: Path | None,
    statement: Path | None,
    sign_key: Path | None,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Make each BUNDLE again from the recipe and lock inside it, with nothing recalled, and compare.

    Exits with 0 if all are identical, 7 if one differs, 8 if that cannot be checked here. A source that a bundle pins may
    come from the store, by its digest. A folder stands for the bundles in it.
    """
    from lftool.cli.diff_report import diff_lines
    from lftool.ops.bundles.folders import bundles_of
    from lftool.ops.diff.comparison import diff_models
    from lftool.ops.project import open_ports
    from lftool.ops.rebuild.bundle import RebuildOptions, rebuild_bundle
    from lftool.ops.rebuild.rebuild_statement import write_rebuild_statement
    from lftool.ops.rebuild.results import WORST
    from lftool.pipeline.parallel import apart

    key = chosen_sign_key(sign_key)
    paths = bundles_of(bundles)
    if statement is not None and key is None:
        raise click.UsageError("--statement needs a key: --sign-key PATH, or `sign.key` in your configuration")
    if statement is not None and len(paths) > 1:
        raise click.UsageError(f"--statement takes one bundle, got {len(paths)}")
    require_new(statement, "--statement")
    options = RebuildOptions(project=project, vendor=vendor, online=not offline, threads=jobs, keep=output)
    ports = open_ports(None, threads=jobs)
    results = []
    for path in paths:
        tree: list[str] = []

        def differs(ours: Path, made: Path, tree: list[str] = tree) -> None:
            tree.extend(diff_lines(diff_models(str(ours), str(made), ports), whole=False))

        found = apart(lambda path=path, differs=differs: rebuild_bundle(path, options, ports, differs), ports)  # type: ignore[misc]  # mypy does not infer lambdas with defaults
        results.append(found)
        if not as_json:
            _show(found, tree)
    if as_json:
        plain = [_as_json(found) for found in results]
        print_json(plain[0] if len(plain) == 1 else {"bundles": plain})
    if statement is not None and key is not None:
        write_rebuild_statement(results[0], statement, key)
        note(f"wrote {statement}")
    return int(_STATUS[max((found.verdict for found in results), key=WORST.index)])


def _show(found: Rebuilt, tree: list[str]) -> None:
    say(f"{found.path.name}: ", (found.verdict, _STYLE[found.verdict]))
    for part in found.parts:
        say(f"  {part.part:<9} ", (part.verdict, _STYLE[part.verdict]), f"{_detail(part)}")
        for hint in part.hints:
            say(f"            hint: {hint}")
    if found.members:
        say(f"  members that differ: {', '.join(found.members)}")
    for line in tree:
        say(f"  {one_line(line)}")
    if found.kept is not None:
        say(f"  rebuilt: {found.kept}")


def _detail(part: PartVerdict) -> str:
    if part.reason:
        return f": {part.reason}"
    return "" if part.made is None else f"  sha256 {part.made.sha256}"


def _as_json(found: Rebuilt) -> dict[str, Any]:
    from lftool.ops.rebuild.rebuild_statement import rebuild_predicate

    return {
        **rebuild_predicate(found),
        "bundle": str(found.path.absolute()),
        "manifest_sha256": found.manifest_digest.hex,
        "unsigned_sha256": found.unsigned.sha256.hex,
        "members": list(found.members),
        "rebuilt": None if found.kept is None else str(found.kept),
    }
