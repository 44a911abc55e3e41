"""`lftool run`: check integrity, always; signatures where somebody said whom to trust; then hand over to a backend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import BackendType, LaunchCommand, LaunchRequest, RuntimeType
from lftool.bundle.contents import check_contents
from lftool.bundle.reader import Bundle, open_for_reading, read_bundle
from lftool.errors import UnavailableError
from lftool.host.guarding import guarded
from lftool.host.registry import Registry
from lftool.ops.trusting import require_trust, signature_report, signer_hints, today_utc

if TYPE_CHECKING:
    from lftool.models.policy import TrustPolicy
    from lftool.store.store import Store

_KIND = "contents"


@frozen(kw_only=True)
class ReadyToRun:
    """A checked bundle and the process that runs it. The descriptor must be handed down to that process.

    Attributes:
        trust: One sentence: who signed, and whether anybody was asked to trust them.
    """

    command: LaunchCommand
    descriptor: int
    trust: str


def user_policy() -> Path:
    """Return where a user's own policy is looked for: `$XDG_CONFIG_HOME/lftool/trust.toml`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "lftool" / "trust.toml"


def check_integrity(bundle: Bundle, store: Store) -> None:
    """Check every content, or recall that these very bytes were checked; never a verdict about signatures.

    Raises:
        IntegrityError: A content is not what the manifest names.
    """
    expected = {"manifest": bundle.manifest_digest.hex}
    if store.stamps.recall(bundle.status, _KIND) == expected:
        return
    check_contents(bundle)
    store.stamps.remember(bundle.status, os.fstat(bundle.descriptor), _KIND, expected)


def _trust(bundle: Bundle, policy: TrustPolicy | None) -> str:
    if policy is not None:
        report = signature_report(bundle, policy, today_utc())
        require_trust(report, bundle.name)
        return f"signed by {', '.join(sorted({r.key_name for r in report.of('trusted')}))}, trusted"
    keys = signer_hints(bundle)
    if not keys:
        return "unsigned; integrity checked, nobody vouches for it"
    named = ", ".join(key[:16] for key in keys)
    return f"signed with key {named}; nobody was asked whether to trust it (give --key or --trust)"


def _runner(registry: Registry) -> Path:
    """Return the script that backends start; ours, never the one inside the bundle."""
    runner = registry.get(RuntimeType, "python").record.factory().runner()
    if runner is None:
        raise UnavailableError("the runtime python has no runner")
    return runner


def prepare_run(
    path: Path, arguments: tuple[str, ...], policy: TrustPolicy | None, store: Store, backend: str | None = None
) -> ReadyToRun:
    """Check a bundle and return the process that runs it.

    Args:
        path: The bundle.
        arguments: For the runner: prompt and limits.
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
        bundle = read_bundle(descriptor, path.name)
        check_integrity(bundle, store)
        trust = _trust(bundle, policy)
        registry = Registry.discovered()
        name = backend or bundle.manifest.backend
        try:
            registered = registry.get(BackendType, name, UnavailableError)
        except UnavailableError as error:
            raise UnavailableError(
                error.message, hints=("install one: pip install 'lftool[cpu]'", *error.hints)
            ) from None
        request = LaunchRequest(bundle=f"/dev/fd/{descriptor}", runner=_runner(registry), arguments=arguments)
        with guarded(registered.origin):
            command = registered.record.factory().launch(request)
    except BaseException:
        os.close(descriptor)
        raise
    return ReadyToRun(command=command, descriptor=descriptor, trust=trust)
