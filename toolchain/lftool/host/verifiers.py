"""Load exactly the verifiers that a trust policy names; a bundle can never cause an import."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lftool.errors import LftoolError, PluginError, TrustError
from lftool.models.policy import P256

if TYPE_CHECKING:
    from lftool.api import Verifier
    from lftool.models.policy import TrustedKey, TrustPolicy

# Module and class of the built-in scheme: verifying needs no registry, which would double its start-up time.
_BUILTIN = {P256: ("lftool.builtin.p256_keys", "P256Verifier")}


def _load(key: TrustedKey) -> Verifier:
    if key.scheme in _BUILTIN:
        module, name = _BUILTIN[key.scheme]
        verifier: Verifier = getattr(import_module(module), name)()
        return verifier
    if key.plugin is None:
        raise TrustError(
            f"trusted key {key.name!r}: the scheme {key.scheme!r} is not built in",
            hints=('name the plugin that verifies it: plugin = "…"; only that one is loaded',),
        )
    return _of_plugin(key, key.plugin)


def _of_plugin(key: TrustedKey, plugin: str) -> Verifier:
    """Return the verifier of the one plugin that a policy names. A policy cannot load what the user forbids."""
    from lftool.api import VerifierType  # noqa: PLC0415 - only policies with other schemes need the registry
    from lftool.host.discovery import ALLOW_LIST, allowed_plugins  # noqa: PLC0415 - as above
    from lftool.host.guarding import guarded  # noqa: PLC0415
    from lftool.host.registry import Registry  # noqa: PLC0415
    from lftool.host.returned import GuardedVerifier  # noqa: PLC0415

    what = f"trusted key {key.name!r}: the policy names the plugin {plugin!r}"
    allowed = allowed_plugins()
    if allowed is not None and plugin not in allowed:
        raise TrustError(
            f"{what}, which {ALLOW_LIST} or --no-plugins leaves out",
            hints=(f"allow it: {ALLOW_LIST}={','.join([*sorted(allowed), plugin])}",),
        )
    registry = Registry.discovered(only=frozenset({plugin}))
    found = next((item for item in registry.plugins if item.origin.entry_point == plugin), None)
    if found is None:
        raise TrustError(f"{what}, and no installed plugin is called that", hints=("lftool plugins list",))
    if found.status != "active":
        raise TrustError(f"{what}, which cannot be used: {found.reason}", hints=("lftool plugins list",))
    schemes = sorted(item.record.name for item in registry.all(VerifierType) if item.origin == found.origin)
    if key.scheme not in schemes:
        raise TrustError(f"{what}, which verifies {', '.join(schemes) or 'nothing'}, not {key.scheme!r}")
    registered = registry.get(VerifierType, key.scheme, TrustError)
    with guarded(registered.origin):
        return GuardedVerifier(registered.record.factory(), registered.origin)


def load_verifiers(policy: TrustPolicy) -> dict[str, Verifier]:
    """Return scheme to verifier for the keys of `policy`; checks that every key belongs to its scheme.

    Raises:
        TrustError: There is no verifier for a scheme, or a key does not belong to its scheme.
    """
    found: dict[str, Verifier] = {}
    for key in policy.keys:
        if key.scheme not in found:
            found[key.scheme] = _load(key)
        try:
            found[key.scheme].key_id(key.public_key)
        except PluginError:
            raise
        except LftoolError as error:
            raise TrustError(f"trusted key {key.name!r}: {error.message}", hints=error.hints) from None
    return found
