"""`lftool backends`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lftool.cli.shared_options import json_option, print_json, say

if TYPE_CHECKING:
    from lftool.ops.run.backends import FoundBackend


@click.command("backends")
@json_option
def command(as_json: bool) -> None:
    """Show the devices that each backend finds on this machine, and why a backend is unavailable."""
    from lftool.host.registry import Registry
    from lftool.ops.run.backends import confinement_here, probe_all
    from lftool.ops.user_store import open_store

    found = probe_all(Registry.discovered(), open_store())
    if as_json:
        print_json({"backends": [_as_json(item) for item in found], "confinement": confinement_here().plain()})
        return
    for item in found:
        probe = item.probe
        with_engine = f" with {item.engine}" if item.engine else ""
        say(
            f"{item.name:<7}{'available' if probe.available else 'unavailable: ' + probe.reason}{with_engine if probe.available else ''}"
        )
        for device in probe.devices:
            memory = "" if device.memory is None else f", {device.memory / 1e9:.1f} GB"
            free = "" if device.free is None else f", {device.free / 1e9:.1f} GB free"
            say(f"       {device.name}{memory}{free}")
        if probe.versions:
            say("       " + ", ".join(f"{name} {version}" for name, version in sorted(probe.versions.items())))
        for semantics in item.native:
            say(f"       native runtime {semantics}, compiled")
        if probe.available and not probe.library and not item.native:
            say(f"       {item.engine or 'the installed software'} cannot use it")


def _as_json(item: FoundBackend) -> dict[str, Any]:
    probe = item.probe
    return {
        "name": item.name,
        "engine": item.engine or None,
        "plugin": item.plugin,
        "available": probe.available,
        "reason": probe.reason or None,
        "devices": [{"name": d.name, "memory": d.memory, "free": d.free} for d in probe.devices],
        "versions": dict(probe.versions),
        "library": probe.library,
        "native": list(item.native),
        "fingerprint": probe.fingerprint or None,
    }
