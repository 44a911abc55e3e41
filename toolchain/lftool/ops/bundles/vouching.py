"""Statements about a bundle that others made and signed: what came of a rebuild."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import FormatError, PolicyError
from lftool.ops.bundles.trust import trusted_statement
from lftool.trust.statement import REBUILD_TYPE

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from lftool.bundle.reader import Bundle
    from lftool.models.policy import TrustPolicy
    from lftool.trust.verification import SignatureResult

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
    result = trusted_statement(bundle, path, policy, today, REBUILD_TYPE)
    said = result.predicate.get("result") if isinstance(result.predicate, dict) else None
    if said not in _RESULTS:
        raise FormatError(f"{path.name}: it does not say what came of the rebuild")
    if said != "identical":
        raise PolicyError(f"{path.name}: its signer's rebuild came to {said!r}, not 'identical'")
    return result
