"""Load exactly the verifiers that a trust policy names, and nothing else; a bundle can never cause an import."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lftool.errors import LftoolError, TrustError
from lftool.models.policy import P256

if TYPE_CHECKING:
    from lftool.api import Verifier
    from lftool.models.policy import TrustedKey, TrustPolicy

# The built-in scheme by module and class: verifying needs no registry, which would double its start-up time.
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
    from lftool.api import VerifierType  # noqa: PLC0415 - only policies with other schemes need the registry
    from lftool.host.registry import Registry  # noqa: PLC0415 - likewise

    registry = Registry.discovered(only=frozenset({key.plugin}))
    return registry.get(VerifierType, key.scheme, TrustError).record.factory()


def load_verifiers(policy: TrustPolicy) -> dict[str, Verifier]:
    """Return scheme to verifier for the keys of `policy`; every key is checked to be one of its scheme.

    Raises:
        TrustError: No verifier for a scheme, or a key that is not of its scheme.
    """
    found: dict[str, Verifier] = {}
    for key in policy.keys:
        if key.scheme not in found:
            found[key.scheme] = _load(key)
        try:
            found[key.scheme].key_id(key.public_key)
        except LftoolError as error:
            raise TrustError(f"trusted key {key.name!r}: {error.message}", hints=error.hints) from None
        except Exception as error:
            raise TrustError(f"trusted key {key.name!r}: {type(error).__name__}: {error}") from error
    return found
