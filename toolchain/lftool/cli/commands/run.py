"""`lftool run`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from lftool.cli.options import bundle_argument, chosen_policy, note, trust_options
from lftool.cli.prestart import hand_over, write_note

if TYPE_CHECKING:
    from pathlib import Path
from typing import Any


@click.command("run")
@bundle_argument
@click.option("-p", "--prompt", help="Answer this and exit; default: standard input, or a chat.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="At most N tokens an answer.")
@click.option("--raw", is_flag=True, help="Complete the text as given, without the chat template.")
@click.option("--backend", metavar="NAME", help="Backend to use; default: the bundle's.")
@trust_options
@click.pass_obj
def command(
    obj: dict[str, Any],
    bundle: Path,
    prompt: str | None,
    max_tokens: int | None,
    raw: bool,
    backend: str | None,
    key: Path | None,
    trust: Path | None,
) -> None:
    """Run the model in BUNDLE, in place. Its integrity is checked first, always."""
    from lftool.ops.caching import open_store
    from lftool.ops.running import prepare_run, user_policy

    policy = chosen_policy(key, trust)
    if policy is None and user_policy().is_file():
        policy = chosen_policy(None, user_policy())
    arguments = [] if prompt is None else ["--prompt", prompt]
    arguments += [] if max_tokens is None else ["--max-tokens", str(max_tokens)]
    arguments += ["--raw"] if raw else []
    ready = prepare_run(bundle, tuple(arguments), policy, open_store(), backend)
    note(f"{bundle.name}: {ready.trust}")
    sys.stdout.flush()
    write_note(ready.command.preload)
    channel = obj["channel"]
    if channel is not None and ready.command.argv[:2] == (sys.executable, "-I"):
        hand_over(channel, ready.command.argv[2:], dict(ready.command.environment), ready.descriptor)
    os.set_inheritable(ready.descriptor, True)  # noqa: FBT003 - the function takes nothing else
    os.execve(ready.command.argv[0], list(ready.command.argv), {**os.environ, **ready.command.environment})  # noqa: S606 - the backend's own command line
