"""The trust policy: who may sign which bundles, and when (docs/reference/trust-policy.md)."""

from __future__ import annotations

import datetime as dt

from attrs import field, frozen
from attrs.validators import min_len

POLICY_VERSION = 1
P256 = "ecdsa-p256-sha256"


@frozen(kw_only=True)
class TrustedKey:
    """`[[keys]]`: one public key and what it may do."""

    name: str = field(validator=min_len(1), metadata={"doc": "Name of this key, for people."})
    public_key: str = field(metadata={"key": "public-key", "doc": "The public key, PEM."})
    scheme: str = field(default=P256, metadata={"doc": "Signature scheme; picks the verifier."})
    plugin: str | None = field(
        default=None, metadata={"doc": "Plugin that provides the scheme's verifier; none for built-in schemes."}
    )
    bundles: tuple[str, ...] = field(default=("*",), metadata={"doc": "Globs of bundle names that the key may sign."})
    not_before: dt.date | None = field(
        default=None, metadata={"key": "not-before", "doc": "First day on which signatures of this key are accepted."}
    )
    not_after: dt.date | None = field(
        default=None, metadata={"key": "not-after", "doc": "Last day on which signatures of this key are accepted."}
    )


@frozen(kw_only=True)
class TrustPolicy:
    """A whole policy file."""

    version: int = field(
        default=POLICY_VERSION,
        metadata={"const": POLICY_VERSION, "doc": "Version of this file format.", "always": True},
    )
    keys: tuple[TrustedKey, ...] = field(validator=min_len(1), metadata={"doc": "Keys that are trusted."})
