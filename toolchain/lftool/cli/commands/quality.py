"""`lftool quality`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftool.cli.shared_options import (
    chosen_sign_key,
    json_option,
    note,
    print_json,
    project_option,
    say,
    sign_key_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.cli.quality_report import Report
    from lftool.ops.quality import MeasuredQuality


@click.command("quality")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@project_option
@click.option(
    "--text", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Text to predict."
)
@click.option(
    "--context",
    type=click.IntRange(min=3),
    metavar="N",
    help="Tokens evaluated together; default: 512, or the model's trained context if smaller.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder of bundles; default: dist."
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a page with charts of size against what was measured.",
)
@sign_key_option
@click.option("--no-sign", is_flag=True, help="Only print what was measured.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Threads to use.")
@json_option
def command(
    targets: tuple[str, ...],
    project: Path | None,
    text: Path,
    context: int | None,
    output: Path | None,
    html: Path | None,
    sign_key: Path | None,
    no_sign: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Measure how well targets' weights predict a text compared with the unquantised weights, and sign the results.

    Measures every target that is quantised unless you name some; the unquantised weights are evaluated once.
    """
    from lftool.ops.build import BuildOptions
    from lftool.ops.project import find_project, open_ports
    from lftool.ops.quality import QualityOptions, measure_bundles
    from lftool.pipeline.parallel import apart
    from lftool.store.durable import write_durably

    found = find_project(project)
    relock = sys.stdin.isatty() and sys.stderr.isatty()
    build = BuildOptions(
        output=output or found.root / "dist", relock=relock, sign=not no_sign, sign_key=chosen_sign_key(sign_key)
    )
    options = QualityOptions(targets=targets, text=text, context=context, build=build)
    ports = open_ports(found, threads=jobs)
    measured = apart(lambda: measure_bundles(found, ports, options), ports)
    model = f"{found.recipe.bundle.name} {found.recipe.bundle.version}"
    if html is not None:
        write_durably(html, _report(measured, model, text.name).page().encode(), "extract")
    if as_json:
        plain = [_as_json(item) for item in measured]
        print_json(plain[0] if len(targets) == 1 else {"targets": plain})
    elif len(measured) == 1:
        _show(measured[0], text.name)
    else:
        _show_all(_report(measured, model, text.name), measured)
    if html is not None:
        note(f"wrote {html}")


def _as_json(item: MeasuredQuality) -> dict[str, Any]:
    from lftool.api import EmbeddingFigures
    from lftool.pipeline.stages.measure import decimal

    figures = item.quality.figures
    statement = None if item.statement is None else str(item.statement)
    risen = {} if isinstance(figures, EmbeddingFigures) else {"increase": decimal(figures.increase)}
    size = {"target": item.target, "size": item.quality.weights.size, "bits_per_weight": round(item.bits, 4)}
    return {**item.predicate, **risen, **size, "statement": statement}


def _show(item: MeasuredQuality, text: str) -> None:
    from lftool.api import EmbeddingFigures

    target, figures = item.target, item.quality.figures
    if isinstance(figures, EmbeddingFigures):
        say(f"{target}: {figures.texts} lines of {text} embedded, {figures.tool}")
        say(f"  on {figures.machine}")
        say(f"  cosine to the unquantised embeddings  mean {figures.cosine_mean:.6f}, least {figures.cosine_least:.6f}")
    else:
        say(f"{target}: {figures.tokens} tokens of {text} predicted, context {figures.context}, {figures.tool}")
        say(f"  on {figures.machine}")
        say(
            f"  perplexity     {figures.perplexity:.4f}, unquantised {figures.reference_perplexity:.4f}: {figures.increase:+.2%}"
        )
        say(f"  KL divergence  mean {figures.kl_divergence:.6f}, largest {figures.kl_divergence_max:.6f} nats")
        say(f"  same likeliest token  {figures.same_top:.2%}")
    if item.statement is not None:
        say(str(item.statement))


def _show_all(report: Report, measured: Sequence[MeasuredQuality]) -> None:
    say((report.title, "name"))
    for line in report.notes:
        say(f"  {line}")
    say()
    for line in report.table():
        say(line)
    say()
    for line in report.bars():
        say(line)
    for item in measured:
        if item.statement is not None:
            say(str(item.statement))


def _report(measured: Sequence[MeasuredQuality], model: str, text: str) -> Report:
    from lftool.api import EmbeddingFigures
    from lftool.cli.quality_report import Report, Row

    rows = []
    for item in measured:
        figures = item.quality.figures
        if isinstance(figures, EmbeddingFigures):
            cells: tuple[str, ...] = (f"{figures.cosine_mean:.6f}", f"{figures.cosine_least:.6f}")
            costs: tuple[float, ...] = (1 - figures.cosine_mean, 1 - figures.cosine_least)
        else:
            cells = (
                f"{figures.perplexity:.4f}",
                f"{figures.increase:+.2%}",
                f"{figures.kl_divergence:.6f}",
                f"{figures.same_top:.2%}",
            )
            costs = (100 * figures.increase, figures.kl_divergence)
        rows.append(Row(target=item.target, size=item.quality.weights.size, bits=item.bits, cells=cells, costs=costs))
    first = measured[0].quality
    figures, unquantised = first.figures, f"unquantised: {first.reference.size / 1e6:.1f} MB"
    notes = (f"{figures.tool}, on {figures.machine}",)
    if isinstance(figures, EmbeddingFigures):
        return Report(
            title=f"{model}: {figures.texts} lines of {text} embedded",
            columns=("cosine, mean", "least"),
            charts=("1 - mean cosine to the unquantised vectors", "1 - least cosine"),
            rows=tuple(rows),
            notes=(*notes, unquantised),
        )
    return Report(
        title=f"{model}: {figures.tokens} tokens of {text} predicted, context {figures.context}",
        columns=("perplexity", "change", "KL divergence", "same top token"),
        charts=("rise of perplexity, per cent", "mean KL divergence, nats"),
        rows=tuple(rows),
        notes=(*notes, f"{unquantised}, perplexity {figures.reference_perplexity:.4f}"),
    )
