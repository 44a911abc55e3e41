"""`lftool quality`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lftool.cli.shared_options import chosen_sign_key, json_option, print_json, project_option, say, sign_key_option


@click.command("quality")
@click.argument("target")
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
@sign_key_option
@click.option("--no-sign", is_flag=True, help="Only print what was measured.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Threads to use.")
@json_option
def command(
    target: str,
    project: Path | None,
    text: Path,
    context: int | None,
    output: Path | None,
    sign_key: Path | None,
    no_sign: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Measure how well TARGET's weights predict a text compared with the unquantised weights, and sign the result."""
    from lftool.api import EmbeddingFigures
    from lftool.ops.build import BuildOptions
    from lftool.ops.project import find_project, open_ports
    from lftool.ops.quality import QualityOptions, measure_target
    from lftool.pipeline.parallel import apart
    from lftool.pipeline.stages.measure import decimal

    found = find_project(project)
    relock = sys.stdin.isatty() and sys.stderr.isatty()
    build = BuildOptions(
        output=output or found.root / "dist", relock=relock, sign=not no_sign, sign_key=chosen_sign_key(sign_key)
    )
    options = QualityOptions(target=target, text=text, context=context, build=build)
    ports = open_ports(found, threads=jobs)
    measured = apart(lambda: measure_target(found, ports, options), ports)
    quality, figures = measured.quality, measured.quality.figures
    if as_json:
        statement = None if measured.statement is None else str(measured.statement)
        risen = {} if isinstance(figures, EmbeddingFigures) else {"increase": decimal(figures.increase)}
        print_json({**quality.predicate(), **risen, "statement": statement})
        return
    if isinstance(figures, EmbeddingFigures):
        say(f"{target}: {figures.texts} lines of {text.name} embedded, {figures.tool}")
        say(f"  on {figures.machine}")
        say(f"  cosine to the unquantised embeddings  mean {figures.cosine_mean:.6f}, least {figures.cosine_least:.6f}")
        if measured.statement is not None:
            say(str(measured.statement))
        return
    say(f"{target}: {figures.tokens} tokens of {text.name} predicted, context {figures.context}, {figures.tool}")
    say(f"  on {figures.machine}")
    say(
        f"  perplexity     {figures.perplexity:.4f}, unquantised {figures.reference_perplexity:.4f}: {figures.increase:+.2%}"
    )
    say(f"  KL divergence  mean {figures.kl_divergence:.6f}, largest {figures.kl_divergence_max:.6f} nats")
    say(f"  same likeliest token  {figures.same_top:.2%}")
    if measured.statement is not None:
        say(str(measured.statement))
