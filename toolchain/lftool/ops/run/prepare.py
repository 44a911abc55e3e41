"""`lftool run`: always check integrity, check signatures if there is a trust policy, then hand over to a backend."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from lftool.api import BackendType, LaunchCommand, LaunchRequest, RuntimeType
from lftool.errors import PluginError, UnavailableError, UsageError
from lftool.host.confinement import Confinement, for_running
from lftool.host.given_options import factory_arguments
from lftool.host.guarding import guarded
from lftool.host.published import BACKENDS, ENGINES
from lftool.host.registry import Registered, Registry
from lftool.ops.run.backends import AUTO, CPU, host_executable, known_backends, native_runtimes, pick, probe_backend
from lftool.ops.run.integrity import CheckedBundle, check, trusted_signers
from lftool.ops.run.memory import memory_here, shortage
from lftool.ops.user_configuration import read_configuration
from lftool.pipeline.identity import host_runtime
from lftool.store.places import chat_history, saved_chats, scratch_root, user_configuration
from lftool.store.reading import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lftool.api import Probe, ServeOptions
    from lftool.models.policy import TrustPolicy
    from lftool.store.store import Store


NATIVE = "native"


@frozen(kw_only=True)
class ReadyToRun:
    """A checked bundle and the process that runs it. The process must inherit the descriptor.

    Attributes:
        bundle: The command's argument that opens the descriptor.
        confinement: The limits of the process; None if the user's configuration turns them off.
        files: Files that the command depends on: the runner, the backend plugin's modules, the user's configuration.
        steady: Whether it may be started again the same way without probing the machine; true on the processor.
        signature: What is known of who signed.
        told: Messages for the user: why this backend, what runs where.
    """

    command: LaunchCommand
    descriptor: int
    bundle: str
    confinement: Confinement | None
    files: tuple[str, ...]
    steady: bool
    signature: str
    told: tuple[str, ...]


def _trust(checked: CheckedBundle, signers: tuple[str, ...] | None) -> str:
    if signers is not None:
        return f"signed by {', '.join(signers)}, trusted"
    if checked.unpacked:
        return "a GGUF, not a bundle: no signature, no digest to compare with, no run contract"
    if not checked.key_ids:
        return "unsigned: integrity checked, no signature to verify"
    named = ", ".join(key[:16] for key in checked.key_ids)
    return f"claims to be signed with key {named}; the signature was not verified (give --key or --trust)"


def _runner(registry: Registry) -> Path:
    """Return the script that backends start: lftool's own, never the one in the bundle."""
    runtime: Any = registry.runtime("python", "cpu").record.factory()
    runner: Path | None = runtime.runner()
    if runner is None:
        raise UnavailableError("the runtime python has no runner")
    return runner


def _scratch() -> Path | None:
    """Return a folder that only the user can enter; None if it cannot be made."""
    folder = scratch_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError:
        return None
    return folder


def _modules_of(module: str) -> list[str]:
    """Return the loaded files of a plugin's package, which the command depends on."""
    top = module.partition(".")[0]
    loaded = [item for name, item in sys.modules.items() if name.partition(".")[0] == top]
    return [file for item in loaded if (file := getattr(item, "__file__", None))]


def _launch(
    registered: Registered[BackendType], request: LaunchRequest, options: Mapping[str, Mapping[str, Any]]
) -> LaunchCommand:
    record = registered.record
    where = f"config.toml: $.backends.{record.name}"
    arguments = factory_arguments(record, options.get(record.name, {}), "backend", where, UsageError)
    with guarded(registered.origin):
        command = record.factory(*arguments).launch(request)
    if request.bundle not in command.argv:
        raise PluginError(f"{registered.origin}: launch() must pass {request.bundle} on to the process")
    return command


def _confinement(
    registered: Registered[BackendType], request: LaunchRequest, command: LaunchCommand, requests: int
) -> Confinement:
    """Return the confinement of a launched process; a chat writes the user's history and saved conversations."""
    chats = () if request.serve is not None else (str(chat_history()), str(saved_chats()))
    return for_running(
        registered.origin.module,
        (command.argv[0], *command.reads),
        (request.bundle,),
        (*command.writes, *chats),
        request.size.served(requests).total,
        gpu=registered.record.name != CPU,
        port=None if request.serve is None else request.serve.port,
    )


def confined(ready: ReadyToRun) -> tuple[str, ...]:
    """Return a command that confines itself and then becomes the backend's process."""
    if ready.confinement is None:
        return ready.command.argv
    wanted = json.dumps(ready.confinement.plain())
    return (sys.executable, "-I", "-m", "lftool.host.confining", wanted, *ready.command.argv)


def _executable(
    backend: str,
    engine: str | None,
    checked: CheckedBundle,
    descriptor: int,
    signers: tuple[str, ...] | None,
    store: Store,
) -> Path | None:
    """Return the native runtime to start: this machine's, or else the bundle's if a trusted key signed it.

    A bundle's code is not started without a trusted signature: passing the integrity check proves no origin.

    Raises:
        UnavailableError: The native runtime is asked for, and there is none.
    """
    if engine not in {None, NATIVE}:
        return None
    found = _native(backend, checked, descriptor, signers, store)
    if found is None and engine == NATIVE:
        raise UnavailableError(
            f"this machine has no native runtime for the backend {backend}",
            hints=("compile one: lftool runtime build", "or leave --engine out"),
        )
    return found


def _native(
    backend: str, checked: CheckedBundle, descriptor: int, signers: tuple[str, ...] | None, store: Store
) -> Path | None:
    own = Path(f"/dev/fd/{descriptor}")
    mine = host_executable(backend, store)
    if mine is None and checked.runtime in native_runtimes(backend) and signers and os.access(own, os.X_OK):
        return own
    return mine


def _probe(name: str, registry: Registry, store: Store) -> Probe | None:
    """Return a backend's probe result; the processor is not probed, since it is always there."""
    return None if name == CPU else probe_backend(name, registry, store).probe


def _registered(registry: Registry, backend: str, engine: str | None) -> Registered[BackendType]:
    """Return a backend with the engine that is asked for.

    Raises:
        UnavailableError: It is not installed.
    """
    try:
        return registry.backend(backend, None if engine == NATIVE else engine)
    except UnavailableError as error:
        extra = ENGINES.get(engine or "", None if engine else backend if backend in BACKENDS else CPU)
        hint = "see what there is: lftool backends" if extra is None else f"install one: pip install 'lftool[{extra}]'"
        hints = (hint, *error.hints)
        raise UnavailableError(error.message, hints=hints) from None


def _require_applied(checked: CheckedBundle, registered: Registered[BackendType]) -> None:
    """Raise UnavailableError if an engine does not apply all that a run contract says."""
    beyond = [key for key in checked.run_keys if key not in registered.record.applies]
    if beyond:
        raise UnavailableError(
            f"the backend {registered.record.key} does not apply [run] {', '.join(beyond)}, which this bundle sets",
            hints=("see which engines there are, and choose another with --engine: lftool backends",),
        )


def _chosen(
    backend: str | None, checked: CheckedBundle, signers: tuple[str, ...] | None, registry: Registry, store: Store
) -> tuple[str, Probe | None, str]:
    """Return the backend's name, its probe, and why it was chosen."""
    if backend == AUTO:
        brought = signers and checked.runtime in native_runtimes(checked.backend)
        found = pick(known_backends(registry), registry, store, {checked.backend} if brought else ())
        return found.found.name, found.found.probe, found.why
    name = backend or checked.backend
    return name, _probe(name, registry, store), ""


def prepare_run(
    path: Path,
    policy: TrustPolicy | None,
    store: Store,
    backend: str | None = None,
    serve: ServeOptions | None = None,
    context: int | None = None,
    name: str | None = None,
    engine: str | None = None,
) -> ReadyToRun:
    """Check a bundle and return the process that runs it.

    Args:
        path: The bundle.
        policy: The keys to trust; None only reports who signed.
        store: Remembers digests by stamp.
        backend: The backend; `auto` for the best available one, the bundle's own by default.
        serve: Server options, to serve the bundle.
        context: Tokens of context, in place of the run contract's.
        name: What to call it in messages; its file name by default.
        engine: What computes: `native`, or the engine of a backend plugin; None for the first that is installed.

    Raises:
        IntegrityError: The bundle is corrupted.
        TrustError: A policy was given, and no trusted key signed.
        UnavailableError: The backend is not installed or not usable here.
        UsageError: The user's configuration has options that the backend does not know.
    """
    descriptor = open_for_reading(path)
    try:
        called = name or path.name
        checked = check(descriptor, called, store)
        signers = None if policy is None else trusted_signers(descriptor, called, policy)
        registry = Registry.discovered()
        chosen, probe, why = _chosen(backend, checked, signers, registry, store)
        registered = _registered(registry, chosen, engine)
        _require_applied(checked, registered)
        opened = f"/dev/fd/{descriptor}"
        request = LaunchRequest(
            bundle=opened,
            runner=_runner(registry),
            executable=_executable(chosen, engine, checked, descriptor, signers, store),
            probe=probe,
            size=checked.size if context is None else evolve(checked.size, context=context, asked=True),
            runtime=checked.runtime,
            scratch=_scratch(),
            serve=serve,
        )
        configuration = read_configuration()
        command = _launch(registered, request, configuration.backends)
        compiled = [str(store.actions.path(host_runtime(semantics))) for semantics in native_runtimes(chosen)]
        decided = (str(request.executable or request.runner), str(user_configuration()))
        files = (*decided, *compiled, *_modules_of(registered.origin.module))
        requests = max(item.record.requests for item in registry.all(RuntimeType))
        confinement = _confinement(registered, request, command, requests) if configuration.plugins.confine else None
    except BaseException:
        os.close(descriptor)
        raise
    several = serve is not None and request.executable is not None
    served = request.size.served(requests) if several else request.size
    lacking = shortage(served, memory_here()) if registered.record.name == CPU else ""
    told = [text for text in (why, command.sentence, lacking) if text]
    return ReadyToRun(
        command=command,
        descriptor=descriptor,
        bundle=opened,
        confinement=confinement,
        files=files,
        steady=probe is None,
        signature=_trust(checked, signers),
        told=tuple(told),
    )
