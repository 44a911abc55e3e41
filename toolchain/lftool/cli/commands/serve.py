"""`lftool serve`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from lftool.cli.shared_options import bundle_argument, chosen_policy, note, trust_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command("serve")
@bundle_argument
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65_535), metavar="N", help="Port.")
@click.option("--api-key", metavar="KEY", help="Key that clients must send; safer in the variable LLAMA_API_KEY.")
@click.option("--insecure", is_flag=True, help="Serve other machines without a key.")
@click.option("--backend", metavar="NAME", help="Backend to use; auto: the best available; default: the bundle's.")
@trust_options
def command(
    bundle: Path,
    host: str,
    port: int,
    api_key: str | None,
    insecure: bool,
    backend: str | None,
    key: Path | None,
    trust: Path | None,
) -> None:
    """Serve the model in BUNDLE: the OpenAI-compatible API, /health and /metrics. Ctrl-C or SIGTERM stops it."""
    from lftool.api import ServeOptions
    from lftool.cli.handover import start
    from lftool.host.registry import Registry
    from lftool.ops.run.listen import require_free, require_key
    from lftool.ops.run.pick import pick_bundle
    from lftool.ops.run.prepare import prepare_run
    from lftool.ops.user_store import open_store

    secret = api_key or os.environ.get("LLAMA_API_KEY")
    require_key(host, secret, insecure=insecure)
    options = ServeOptions(host=host, port=port, insecure=insecure)
    policy, store = chosen_policy(key, trust, own=True), open_store()
    picked = pick_bundle(bundle, backend, Registry.discovered(), store, trusting=policy is not None)
    if picked.why:
        note(picked.why)
    bundle, backend = picked.path, picked.backend
    ready = prepare_run(bundle, policy, store, backend, options)
    require_free(host, port)
    for line in ready.told:
        note(f"{bundle.name}: {line}")
    note(f"{bundle.name}: serving on http://{f'[{host}]' if ':' in host else host}:{port}/v1")
    start(ready, bundle, [], {"LLAMA_API_KEY": secret} if secret else {})
