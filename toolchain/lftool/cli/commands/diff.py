"""`lftool diff`."""

from __future__ import annotations

import click

from lftool.cli.shared_options import json_option, print_json, say
from lftool.errors import ExitStatus
from lftool.models.terminal import verbosity
from lftool.models.terminal_text import one_line


@click.command("diff")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option("--exit-code", is_flag=True, help="Exit with 7 if they differ.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Threads to use.")
@json_option
def command(one: str, other: str, exit_code: bool, jobs: int | None, as_json: bool) -> int:
    """Show what differs between two models: bundles, GGUF files, folders of safetensors, or URIs.

    Compares tensors byte by byte, metadata, tokenizer, chat template, and what bundles say. Nothing is run. --verbose
    lists every tensor that differs.
    """
    from lftool.cli.diff_report import diff_as_json, diff_lines
    from lftool.ops.diff.comparison import diff_models
    from lftool.ops.project import open_ports
    from lftool.pipeline.parallel import apart

    ports = open_ports(None, threads=jobs)
    found = apart(lambda: diff_models(one, other, ports), ports)
    if as_json:
        print_json(diff_as_json(found))
    else:
        for line in diff_lines(found, whole=verbosity() > 0):
            say(one_line(line))
    return int(ExitStatus.NOT_REPRODUCIBLE if exit_code and found.any else ExitStatus.OK)
