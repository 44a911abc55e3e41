"""Check signatures against an explicit trust policy. The result is data; a bad signature raises nothing."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen

from lftool.codec.canonical import parse_canonical_json
from lftool.errors import FormatError
from lftool.models.digest import Digest
from lftool.models.manifest import BundleManifest
from lftool.trust.envelope import decode_envelope
from lftool.trust.statement import PREDICATE_TYPE, Statement, decode_statement

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from lftool.api import Verifier
    from lftool.models.policy import TrustedKey, TrustPolicy

Verdict = Literal["trusted", "refused", "untrusted"]


@frozen(kw_only=True)
class Claim:
    """What a signature must be about: the bundle as it was read."""

    manifest: BundleManifest
    manifest_digest: Digest
    provenance: bytes

    def predicate(self) -> Any:  # noqa: ANN401 - a SLSA predicate
        """Return the provenance."""
        return parse_canonical_json(self.provenance, "lftool/provenance.json")


@frozen(kw_only=True)
class SignatureResult:
    """The result for one signature.

    Attributes:
        verdict: `trusted`; `refused` if the policy refuses it although the key is known and the signature is valid;
            `untrusted` if no key of the policy verifies it.
        key_id: The hint in the envelope; unproven if the verdict is `untrusted`.
        key_name: The key's name in the policy.
        reason: Why it is not trusted, in one sentence.
        unsigned: The sha256 of U in the statement.
        predicate: The predicate, if the key is known.
    """

    verdict: Verdict
    key_id: str
    key_name: str = ""
    reason: str = ""
    unsigned: Digest | None = None
    predicate: Any = field(default=None, eq=False, repr=False)


@frozen(kw_only=True)
class SignatureReport:
    """The results for all signatures of a bundle. True if at least one is trusted and none is refused."""

    results: tuple[SignatureResult, ...]

    def __bool__(self) -> bool:
        return any(r.verdict == "trusted" for r in self.results) and not any(
            r.verdict == "refused" for r in self.results
        )

    def of(self, verdict: Verdict) -> tuple[SignatureResult, ...]:
        """Return the results with one verdict."""
        return tuple(result for result in self.results if result.verdict == verdict)


def _mismatch(statement: Statement, claim: Claim) -> str:
    if statement.manifest != claim.manifest_digest:
        return f"it is about another bundle: it names M {statement.manifest}, this bundle has {claim.manifest_digest}"
    if statement.bundle != claim.manifest.stem:
        return f"it is about {statement.bundle!r}, this bundle is {claim.manifest.stem!r}"
    if statement.predicate_type == PREDICATE_TYPE and statement.predicate != claim.predicate():
        return "its predicate is not the provenance in the bundle"
    return ""


def _policy_refusal(key: TrustedKey, claim: Claim, today: dt.date) -> str:
    if not any(fnmatch.fnmatchcase(claim.manifest.name, pattern) for pattern in key.bundles):
        return f"the key {key.name!r} may sign {', '.join(key.bundles)}, not {claim.manifest.name!r}"
    if key.not_before is not None and today < key.not_before:
        return f"the key {key.name!r} is valid from {key.not_before} on"
    if key.not_after is not None and today > key.not_after:
        return f"the key {key.name!r} was valid until {key.not_after}"
    return ""


def check_signature(
    data: bytes,
    claim: Claim,
    policy: TrustPolicy,
    verifiers: Mapping[str, Verifier],
    today: dt.date,
    predicate_type: str = PREDICATE_TYPE,
) -> SignatureResult:
    """Check one signature member, or a statement in a separate file, against a policy.

    Args:
        data: The member's bytes.
        claim: The bundle as it was read.
        policy: The trusted keys and what they may sign.
        verifiers: Scheme to verifier, for every scheme in the policy.
        today: The date for checking validity.
        predicate_type: The required predicate type.

    Raises:
        FormatError: The member is not in the one accepted encoding.
    """
    envelope = decode_envelope(data, "signature member")
    refused = None
    for key in policy.keys:
        if not verifiers[key.scheme].verify(envelope.signed_bytes, envelope.signature, key.public_key):
            continue
        key_id = verifiers[key.scheme].key_id(key.public_key)
        if envelope.key_id != key_id:
            raise FormatError(f"signature member: names key {envelope.key_id}, but key {key_id} made it")
        statement = decode_statement(envelope.payload, "signed statement", predicate_type)
        wrong = _mismatch(statement, claim)
        if wrong:
            return SignatureResult(verdict="untrusted", key_id=key_id, key_name=key.name, reason=wrong)
        refusal = _policy_refusal(key, claim, today)
        result = SignatureResult(
            verdict="refused" if refusal else "trusted",
            key_id=key_id,
            key_name=key.name,
            reason=refusal,
            unsigned=statement.unsigned,
            predicate=statement.predicate,
        )
        if not refusal:
            return result
        refused = refused or result  # another entry may grant the same key more
    return refused or SignatureResult(verdict="untrusted", key_id=envelope.key_id, reason="no trusted key verifies it")


def check_signatures(
    signatures: Sequence[bytes], claim: Claim, policy: TrustPolicy, verifiers: Mapping[str, Verifier], today: dt.date
) -> SignatureReport:
    """Check every signature member of a bundle; see `check_signature`."""
    return SignatureReport(results=tuple(check_signature(data, claim, policy, verifiers, today) for data in signatures))
