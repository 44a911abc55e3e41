"""Statements about a bundle that others made and signed: what came of a rebuild."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import FormatError, PolicyError, TrustError
from lftool.host.verifiers import load_verifiers
from lftool.ops.bundles.trust import claim_of
from lftool.trust.statement import REBUILD_TYPE
from lftool.trust.verification import SignatureResult, check_signature

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from lftool.bundle.reader import Bundle
    from lftool.models.policy import TrustPolicy

_RESULTS = frozenset({"identical", "different", "cannot check here"})


def trusted_rebuild(bundle: Bundle, path: Path, policy: TrustPolicy, today: dt.date) -> SignatureResult:
    """Return a statement of a rebuild of a bundle, if a trusted key signed it and it says that the bundle is identical.

    Args:
        bundle: The bundle.
        path: The statement's file.
        policy: The keys to trust.
        today: The date for checking validity.

    Raises:
        FormatError: It is not such a statement, or not in the one accepted encoding.
        PolicyError: A valid signature that the policy refuses, or the rebuilder could not reproduce the bundle.
        TrustError: No trusted key signed it, or it is about another bundle.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrustError(f"cannot read {path}: {error.strerror}") from None
    result = check_signature(data, claim_of(bundle), policy, load_verifiers(policy), today, predicate_type=REBUILD_TYPE)
    if result.verdict == "refused":
        raise PolicyError(f"{path.name}: {result.reason}")
    if result.verdict != "trusted":
        raise TrustError(
            f"{path.name}: signature by key {result.key_id}: {result.reason}",
            hints=("trust the rebuilder's public key: --key PUB, or in a policy file",),
        )
    said = result.predicate.get("result") if isinstance(result.predicate, dict) else None
    if said not in _RESULTS:
        raise FormatError(f"{path.name}: it does not say what came of the rebuild")
    if said != "identical":
        raise PolicyError(f"{path.name}: its signer's rebuild came to {said!r}, not 'identical'")
    return result
