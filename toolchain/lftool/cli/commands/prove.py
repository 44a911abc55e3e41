"""`lftool prove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
from lftool.models.terminal import verbosity
from lftool.models.terminal_text import one_line

if TYPE_CHECKING:
    from lftool.models.terminal import Style

_GOOD = frozenset({"identical file", "identical tensors"})


@click.command("prove")
@click.argument("file")
@click.option("--base", required=True, metavar="REF", help="What it should derive from: a GGUF, safetensors, or a URI.")
@click.option("--imatrix", metavar="REF", help="The importance matrix that it was made with.")
@click.option("--arithmetic", metavar="NAME", help="Try this arithmetic first.")
@click.option(
    "--claim",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="STATEMENT",
    help="Check a statement of a derivation against what is found: lftool's, or ggufpacker's.",
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT",
    help="Also write a recipe that makes FILE again.",
)
@click.option(
    "--statement",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT",
    help="Also write a statement of what was found, signed if you have a key.",
)
@sign_key_option
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Threads to use; never changes the result.")
@json_option
def command(
    *,
    file: str,
    base: str,
    imatrix: str | None,
    arithmetic: str | None,
    claim: Path | None,
    recipe: Path | None,
    statement: Path | None,
    sign_key: Path | None,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Check whether FILE, a GGUF by anyone, is what a base model becomes when it is quantised.

    Reads both tensor by tensor, quantises the base's again under every arithmetic that is known, and compares. Exits with 0
    if all tensors are identical, 8 if that cannot be told here, else 7. --verbose lists what was tried, and every tensor.
    """
    from lftool.cli.prove_report import proof_as_json, proof_lines, verdict_line
    from lftool.ops.project import open_ports
    from lftool.ops.prove.derivation_statement import check_claim, read_claim, write_derivation
    from lftool.ops.prove.prove import ProveOptions, prove, tell_hypotheses
    from lftool.ops.prove.proved_recipe import write_recipe
    from lftool.pipeline.parallel import apart

    require_new(recipe, "--recipe")
    require_new(statement, "--statement")
    ports = open_ports(None, threads=jobs)
    claimed = None if claim is None else read_claim(claim)
    found = apart(lambda: prove(file, base, ProveOptions(imatrix=imatrix, first=arithmetic), ports), ports)
    verdict = found.verdict
    if as_json:
        print_json(proof_as_json(found))
    else:
        if verbosity() > 0:
            tell_hypotheses(found, ports)
        style: Style = "good" if verdict in _GOOD else "caution"
        say(f"{found.file.name}: ", (verdict_line(found), style))
        for line in proof_lines(found, whole=verbosity() > 0):
            say(f"  {one_line(line)}")
    if claimed is not None and claim is not None:
        note(check_claim(claimed, found, claim.name))
    if recipe is not None:
        write_recipe(found, base, imatrix, recipe)
    if statement is not None:
        write_derivation(found, statement, chosen_sign_key(sign_key))
    for written in (recipe, statement):
        if written is not None:
            note(f"wrote {written}")
    if verdict in _GOOD:
        return int(ExitStatus.OK)
    return int(ExitStatus.UNAVAILABLE if verdict == "cannot be told" else ExitStatus.NOT_REPRODUCIBLE)
