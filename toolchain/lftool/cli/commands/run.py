"""`lftool run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lftool.cli.shared_options import bundle_argument, chosen_policy, note, trust_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command("run")
@bundle_argument
@click.option("-p", "--prompt", help="Answer this and exit; default: standard input, or a chat.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="At most N tokens an answer.")
@click.option("--raw", is_flag=True, help="Complete the text as given, without the chat template.")
@click.option("--backend", metavar="NAME", help="Backend to use; auto: the best available; default: the bundle's.")
@trust_options
def command(
    bundle: Path,
    prompt: str | None,
    max_tokens: int | None,
    raw: bool,
    backend: str | None,
    key: Path | None,
    trust: Path | None,
) -> None:
    """Run the model in BUNDLE, in place. Always checks its integrity first.

    If BUNDLE is a folder, runs the bundle whose backend is available.
    """
    from lftool.cli.handover import start
    from lftool.cli.quickstart import remember
    from lftool.host.registry import Registry
    from lftool.ops.run.pick import pick_bundle
    from lftool.ops.run.prepare import prepare_run
    from lftool.ops.user_store import open_store

    policy = chosen_policy(key, trust, own=True)
    picked = pick_bundle(bundle, backend, Registry.discovered(), store := open_store(), trusting=policy is not None)
    if picked.why:
        note(picked.why)
    bundle, backend = picked.path, picked.backend
    ready = prepare_run(bundle, policy, store, backend)
    for line in ready.told:
        note(f"{bundle.name}: {line}")
    if policy is None and backend is None and ready.steady:
        remember(ready, ready.files)
    arguments = [] if prompt is None else [f"--prompt={prompt}"]  # it may begin with a dash
    arguments += [] if max_tokens is None else ["--max-tokens", str(max_tokens)]
    arguments += ["--raw"] if raw else []
    start(ready, bundle, arguments, {})
