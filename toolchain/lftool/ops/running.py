"""`lftool run`: check integrity, always; signatures where somebody said whom to trust; then hand over to a backend."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import BackendType, LaunchCommand, LaunchRequest, RuntimeType
from lftool.errors import PluginError, UnavailableError
from lftool.host.guarding import guarded
from lftool.host.registry import Registered, Registry
from lftool.ops.checking import CheckedBundle, check, trusted_signers
from lftool.store.opening import open_for_reading

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.models.policy import TrustPolicy
    from lftool.store.store import Store


@frozen(kw_only=True)
class ReadyToRun:
    """A checked bundle and the process that runs it. The descriptor must be handed down to that process.

    Attributes:
        bundle: The argument of the command that opens the descriptor.
        files: Files that decided the command: the runner, and the modules of the backend's plugin.
        trust: One sentence: who signed, and whether anybody was asked to trust them.
    """

    command: LaunchCommand
    descriptor: int
    bundle: str
    files: tuple[str, ...]
    trust: str


def _trust(checked: CheckedBundle, signers: tuple[str, ...] | None) -> str:
    if signers is not None:
        return f"signed by {', '.join(signers)}, trusted"
    if not checked.key_ids:
        return "unsigned; integrity checked, nobody vouches for it"
    named = ", ".join(key[:16] for key in checked.key_ids)
    return f"signed with key {named}; nobody was asked whether to trust it (give --key or --trust)"


def _runner(registry: Registry) -> Path:
    """Return the script that backends start; ours, never the one inside the bundle."""
    runner = registry.get(RuntimeType, "python").record.factory().runner()
    if runner is None:
        raise UnavailableError("the runtime python has no runner")
    return runner


def _modules_of(module: str) -> list[str]:
    """Return the files of a plugin's package that are loaded: those that had a say."""
    top = module.partition(".")[0]
    loaded = [item for name, item in sys.modules.items() if name.partition(".")[0] == top]
    return [file for item in loaded if (file := getattr(item, "__file__", None))]


def _launch(registered: Registered[BackendType], request: LaunchRequest) -> LaunchCommand:
    with guarded(registered.origin):
        command = registered.record.factory().launch(request)
    if request.bundle not in command.argv:
        raise PluginError(f"{registered.origin}: launch() must pass {request.bundle} on to the process")
    return command


def prepare_run(path: Path, policy: TrustPolicy | None, store: Store, backend: str | None = None) -> ReadyToRun:
    """Check a bundle and return the process that runs it.

    Args:
        path: The bundle.
        policy: Whom to trust; None reports who signed and asks nobody.
        store: Remembers digests by stamp.
        backend: Which backend; the bundle's own by default.

    Raises:
        IntegrityError: The bundle is not what it says.
        TrustError: A policy was given, and no trusted key signed.
        UnavailableError: The backend is not installed or cannot be used here.
    """
    descriptor = open_for_reading(path)
    try:
        checked = check(descriptor, path.name, store)
        trust = _trust(checked, None if policy is None else trusted_signers(descriptor, path.name, policy))
        registry = Registry.discovered()
        name = backend or checked.backend
        try:
            registered = registry.get(BackendType, name, UnavailableError)
        except UnavailableError as error:
            raise UnavailableError(
                error.message, hints=("install one: pip install 'lftool[cpu]'", *error.hints)
            ) from None
        opened = f"/dev/fd/{descriptor}"
        request = LaunchRequest(bundle=opened, runner=_runner(registry))
        command = _launch(registered, request)
        files = (str(request.runner), *_modules_of(registered.origin.module))
    except BaseException:
        os.close(descriptor)
        raise
    return ReadyToRun(command=command, descriptor=descriptor, bundle=opened, files=files, trust=trust)
