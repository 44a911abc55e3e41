"""`lftool backends`: what each backend finds on this machine, and which one to use by default."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import BackendType, Probe
from lftool.errors import LftoolError, UnavailableError
from lftool.host.published import BACKENDS
from lftool.pipeline.identity import host_runtime
from lftool.store.executables import executable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from lftool.host.confinement import Applied
    from lftool.host.registry import Registry
    from lftool.models.digest import Artifact
    from lftool.store.store import Store

CPU = "cpu"
AUTO = "auto"
_NUMBERS = (1,)  # native runtimes whose options this lftool knows


def native_runtimes(backend: str) -> list[str]:
    """Return the semantics of the known native runtimes for a backend."""
    return [f"native-{backend}/{number}" for number in _NUMBERS]


@frozen(kw_only=True)
class FoundBackend:
    """A backend and the result of its probe.

    Attributes:
        name: The backend.
        engine: The engine of its plugin; empty if it has no name.
        plugin: The distribution that provides it; None if there is none.
        probe: The result of its probe.
        native: Semantics of this machine's native runtimes for it.
    """

    name: str
    engine: str = ""
    plugin: str | None
    probe: Probe
    native: tuple[str, ...] = ()


def probe_backend(name: str, registry: Registry, store: Store, engine: str | None = None) -> FoundBackend:
    """Let a backend probe this machine in a separate process; an error there becomes the reason for unavailability.

    Args:
        name: The backend.
        registry: Has the backends.
        store: Has this machine's native runtimes.
        engine: Its engine; None for the one that would be used.

    Raises:
        StorageError: The cache cannot be used.
        UnavailableError: No installed plugin provides it with that engine.
    """
    if not registry.engines(name):
        plugin = f"the plugin {BACKENDS[name]}" if name in BACKENDS else f"a plugin with the backend {name}"
        missing = Probe(available=False, reason=f"{plugin} is not installed")
        return FoundBackend(name=name, plugin=None, probe=missing, native=_native_here(name, store))
    registered = registry.backend(name, engine)
    with store.in_use():
        try:
            from lftool.host.isolated import Isolated  # noqa: PLC0415 - a bundle's own backend is not probed
            from lftool.host.workers import WorkerRules, Workers  # noqa: PLC0415 - as above
            from lftool.ops.user_configuration import read_configuration  # noqa: PLC0415 - as above

            rules = WorkerRules(backends=read_configuration().backends)
            probe = Isolated(store.temporary, Workers(), rules).probe_backend(registered)
        except LftoolError as error:
            probe = Probe(available=False, reason=error.message.replace("\n", " "))
    return FoundBackend(
        name=name,
        engine=registered.record.engine,
        plugin=registered.origin.distribution,
        probe=probe,
        native=_native_here(name, store),
    )


def confinement_here() -> Applied:
    """Return how far this machine can confine processes that handle model files, by confining a test process."""
    from lftool.host.confinement import Applied, Confinement  # noqa: PLC0415 - as in probe_backend
    from lftool.host.isolated import PROBE_SECONDS  # noqa: PLC0415 - as in probe_backend

    tried = Confinement(file_bytes=1 << 40, data_bytes=1 << 40)
    command = [sys.executable, "-I", "-m", "lftool.host.confining", json.dumps(tried.plain())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PROBE_SECONDS)
        return Applied(**json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return Applied()


def known_backends(registry: Registry) -> tuple[str, ...]:
    """Return the names of all backends that are installed or known: most preferred first, then by name."""
    preferences = dict.fromkeys(BACKENDS, 0) | {
        item.record.name: item.record.preference for item in registry.all(BackendType)
    }
    return tuple(sorted(preferences, key=lambda name: (-preferences[name], name)))


def probe_all(registry: Registry, store: Store) -> list[FoundBackend]:
    """Return the probes of all backends with each of their engines, in order of preference."""
    engines: dict[str, list[str | None]] = {
        name: [item.record.engine for item in registry.engines(name)] for name in known_backends(registry)
    }
    return [probe_backend(name, registry, store, engine) for name in engines for engine in engines[name] or [None]]


def device_text(found: FoundBackend) -> str:
    """Return the devices of a probe, for display."""
    told = [
        device.name if device.free is None else f"{device.name} ({device.free / 1e9:.1f} GB free)"
        for device in found.probe.devices
    ]
    return ", ".join(told) or "no device"


@frozen(kw_only=True)
class Pick:
    """A chosen backend, and a sentence that explains the choice."""

    found: FoundBackend
    why: str


def _native_artifact(semantics: str, store: Store) -> Artifact | None:
    made = store.actions.get(host_runtime(semantics))
    return made["executable"] if made is not None and store.blobs.holds(made["executable"]) else None


def _native_here(backend: str, store: Store) -> tuple[str, ...]:
    return tuple(name for name in native_runtimes(backend) if _native_artifact(name, store) is not None)


def host_executable(backend: str, store: Store) -> Path | None:
    """Return this machine's native runtime for a backend; None if there is none.

    Raises:
        StorageError: The cache cannot be used.
    """
    for semantics in native_runtimes(backend):
        artifact = _native_artifact(semantics, store)
        if artifact is not None:
            return executable(artifact, store)
    return None


def pick(names: Iterable[str], registry: Registry, store: Store, carried: Collection[str] = ()) -> Pick:
    """Return the first usable backend, in order of preference.

    A device is useless without software that computes on it: llama-cpp-python or a native runtime.

    Args:
        names: Allowed backends.
        registry: Has the backends.
        store: Has this machine's native runtimes.
        carried: Backends for which a bundle contains a native runtime.

    Raises:
        UnavailableError: None is usable; the message has the reasons.
    """
    wanted = set(names)
    passed: list[str] = []
    for name in known_backends(registry):
        if name not in wanted:
            continue
        found = probe_backend(name, registry, store)
        able = found.probe.library or name == CPU or name in carried or host_executable(name, store) is not None
        if found.probe.available and able:
            why = f"{name} has {device_text(found)}"
            return Pick(found=found, why="; ".join([*passed, why]))
        unused = f"nothing installed can compute on {device_text(found)}"
        passed.append(f"no {name}: {unused if found.probe.available else found.probe.reason}")
    raise UnavailableError(f"no backend can be used here: {'; '.join(passed)}", hints=("lftool backends",))
