"""`lftool serve`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from lftool.cli.run_options import arguments, run_options
from lftool.cli.shared_options import chosen_policy, note, trust_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command("serve")
@click.argument("what", metavar="X")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65_535), metavar="N", help="Port.")
@click.option("--api-key", metavar="KEY", help="Key that clients must send; safer in the variable LLAMA_API_KEY.")
@click.option("--insecure", is_flag=True, help="Serve other machines without a key.")
@click.option(
    "--upgrade", is_flag=True, help="If X is a URI, look it up again; default: keep what was pinned the first time."
)
@run_options
@click.option("--backend", metavar="NAME", help="Backend to use; auto: the best available; default: the bundle's.")
@click.option("--engine", metavar="NAME", help="Engine to use: native, or one that lftool backends lists.")
@trust_options
def command(
    what: str,
    host: str,
    port: int,
    api_key: str | None,
    insecure: bool,
    upgrade: bool,
    backend: str | None,
    engine: str | None,
    key: tuple[Path, ...],
    trust: Path | None,
    **given: Any,  # noqa: ANN401 - the values of run_options
) -> None:
    """Serve the model X over the OpenAI-compatible API, with /health and /metrics. Ctrl-C or SIGTERM stops the server.

    X is the same as for `lftool run`.
    """
    from lftool.api import ServeOptions
    from lftool.cli.handover import start
    from lftool.host.registry import Registry
    from lftool.ops.run.listen import require_free, require_key
    from lftool.ops.run.pick import pick_bundle
    from lftool.ops.run.prepare import prepare_run
    from lftool.ops.run.whole import whole
    from lftool.ops.runnable import needs_making, runnable_file
    from lftool.ops.user_store import open_store

    secret = api_key or os.environ.get("LLAMA_API_KEY")
    require_key(host, secret, insecure=insecure)
    options = ServeOptions(host=host, port=port, insecure=insecure)
    policy, store = chosen_policy(key, trust, own=True), open_store()
    made = runnable_file(what, upgrade=upgrade)
    picked = pick_bundle(made.path, backend, Registry.discovered(), store, trusting=policy is not None)
    for line in filter(None, (made.told, picked.why)):
        note(line)
    name, backend = picked.path.name if made.path.is_dir() else made.name, picked.backend
    path = whole(picked.path, store)
    ready = prepare_run(path, policy, store, backend, options, context=given["ctx"], name=name, engine=engine)
    require_free(host, port)
    for line in (ready.signature, *ready.told):
        note(f"{name}: {line}")
    note(f"{name}: loading, then serving on http://{f'[{host}]' if ':' in host else host}:{port}/v1")
    start(
        ready,
        name if needs_making(what) else str(picked.path),
        arguments(given),
        {"LFTOOL_SIGNATURE": ready.signature.partition(" (")[0], **({"LLAMA_API_KEY": secret} if secret else {})},
    )
