"""`lftool run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from lftool.cli.run_options import arguments, run_options
from lftool.cli.shared_options import chosen_policy, note, trust_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command("run")
@click.argument("what", metavar="X")
@click.option(
    "-p", "--prompt", help="Answer this prompt and exit; default: read standard input, or chat on a terminal."
)
@click.option("--raw", is_flag=True, help="Complete the text as given, without the chat template.")
@click.option("--stats", is_flag=True, help="In a chat: show tokens and seconds after each answer.")
@click.option("--no-history", is_flag=True, help="In a chat: do not keep what you type.")
@click.option(
    "--upgrade", is_flag=True, help="If X is a URI, look it up again; default: keep what was pinned the first time."
)
@run_options
@click.option("--backend", metavar="NAME", help="Backend to use; auto: the best available; default: the bundle's.")
@click.option("--engine", metavar="NAME", help="Engine to use: native, or one that lftool backends lists.")
@trust_options
def command(
    what: str,
    prompt: str | None,
    raw: bool,
    stats: bool,
    no_history: bool,
    upgrade: bool,
    backend: str | None,
    engine: str | None,
    key: tuple[Path, ...],
    trust: Path | None,
    **given: Any,  # noqa: ANN401 - the values of run_options
) -> None:
    """Run the model X in place: a bundle (its integrity is always checked first) or a folder of bundles.

    X may also be a GGUF, a folder of safetensors, or a URI such as hf://org/repo:Q4_K_M, which is fetched once and
    pinned by digest. Such models have no signature.
    """
    from lftool.cli.chat_files import chat_files
    from lftool.cli.handover import start
    from lftool.cli.quickstart import remember
    from lftool.host.registry import Registry
    from lftool.ops.run.pick import pick_bundle
    from lftool.ops.run.prepare import prepare_run
    from lftool.ops.run.whole import whole
    from lftool.ops.runnable import needs_making, runnable_file
    from lftool.ops.user_store import open_store

    policy = chosen_policy(key, trust, own=True)
    made = runnable_file(what, upgrade=upgrade)
    picked = pick_bundle(made.path, backend, Registry.discovered(), store := open_store(), trusting=policy is not None)
    for line in filter(None, (made.told, picked.why)):
        note(line)
    name, backend = picked.path.name if made.path.is_dir() else made.name, picked.backend
    chatting = prompt is None and sys.stdin is not None and sys.stdin.isatty()
    variables = chat_files(history=not no_history) if chatting else {}
    path = whole(picked.path, store)
    ready = prepare_run(path, policy, store, backend, context=given["ctx"], name=name, engine=engine)
    for line in (ready.signature, *ready.told):
        note(f"{name}: {line}")
    plain = policy is None and backend is engine is given["ctx"] is None and path == picked.path
    if plain and ready.steady:
        remember(ready, ready.files)
    passed = [] if prompt is None else [f"--prompt={prompt}"]  # it may begin with a dash
    passed += [*(["--raw"] if raw else []), *(["--stats"] if stats else []), *arguments(given)]
    start(ready, name if needs_making(what) else str(picked.path), passed, variables)
