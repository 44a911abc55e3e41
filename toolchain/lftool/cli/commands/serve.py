"""`lftool serve`."""

from __future__ import annotations

import errno
import ipaddress
import os
from typing import TYPE_CHECKING

import click

from lftool.cli.shared_options import bundle_argument, chosen_policy, note, trust_options

if TYPE_CHECKING:
    from pathlib import Path


@click.command("serve")
@bundle_argument
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65_535), metavar="N", help="Port.")
@click.option("--api-key", metavar="KEY", help="What clients must send; better in the variable LLAMA_API_KEY.")
@click.option("--insecure", is_flag=True, help="Listen to other machines without a key.")
@click.option("--backend", metavar="NAME", help="Backend to use; auto: the best that is here; default: the bundle's.")
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
    from lftool.errors import UsageError
    from lftool.host.registry import Registry
    from lftool.ops.run.pick import pick_bundle
    from lftool.ops.run.prepare import prepare_run
    from lftool.ops.user_store import open_store

    secret = api_key or os.environ.get("LLAMA_API_KEY")
    if secret and not all("!" <= letter <= "~" and letter != "," for letter in secret):
        raise UsageError("an API key has no spaces, commas, or letters outside ASCII: clients could not send it")
    if not _is_loopback(host) and not secret and not insecure:
        raise UsageError(
            f"serving on {host} lets other machines in, and there is no key",
            hints=("set LLAMA_API_KEY to what clients must send, or give --insecure if that is meant",),
        )
    options = ServeOptions(host=host, port=port, insecure=insecure)
    policy, store = chosen_policy(key, trust, own=True), open_store()
    picked = pick_bundle(bundle, backend, Registry.discovered(), store, trusting=policy is not None)
    if picked.why:
        note(picked.why)
    bundle, backend = picked.path, picked.backend
    ready = prepare_run(bundle, policy, store, backend, options)
    _require_free(host, port)
    for line in ready.told:
        note(f"{bundle.name}: {line}")
    note(f"{bundle.name}: serving on http://{f'[{host}]' if ':' in host else host}:{port}/v1")
    start(ready, bundle, [], {"LLAMA_API_KEY": secret} if secret else {})


def _require_free(host: str, port: int) -> None:
    """Raise StorageError if nobody can listen there: servers say it late, and each in its own way."""
    import socket

    from lftool.errors import StorageError

    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        hints = ("give another port: --port N",) if error.errno == errno.EADDRINUSE else ()
        raise StorageError(f"cannot listen on {host}, port {port}: {error.strerror}", hints=hints) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
