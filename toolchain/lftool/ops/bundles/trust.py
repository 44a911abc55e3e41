"""Trust policies and signature checks, for verify and run. A key of the built-in scheme needs no plugin."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from lftool.codec.toml_in import read_bytes
from lftool.errors import FormatError, IntegrityError, PolicyError, TrustError
from lftool.host.verifiers import load_verifiers
from lftool.models.digest import Digest
from lftool.models.manifest import PROVENANCE_PATH
from lftool.models.policy import TrustedKey, TrustPolicy
from lftool.trust.statement import QUALITY_TYPE
from lftool.trust.verification import Claim, SignatureReport, SignatureResult, check_signature, check_signatures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lftool.bundle.reader import Bundle


def policy_of_keys(paths: Sequence[Path]) -> TrustPolicy:
    """Return the policy that trusts public keys for everything.

    Raises:
        TrustError: A file cannot be read.
    """
    pems = {path: read_bytes(path, "--key", TrustError).decode(errors="replace") for path in dict.fromkeys(paths)}
    return TrustPolicy(keys=tuple(TrustedKey(name=path.name, public_key=pem) for path, pem in pems.items()))


def read_policy(path: Path) -> TrustPolicy:
    """Return the policy in a file.

    Raises:
        TrustError: It cannot be read or is malformed.
    """
    from lftool.codec.policies import parse_policy  # noqa: PLC0415 - `--key` needs no TOML

    return parse_policy(read_bytes(path, "trust policy", TrustError), str(path))


def claim_of(bundle: Bundle) -> Claim:
    """Return the claim that signatures of `bundle` must be about."""
    return Claim(
        manifest=bundle.manifest,
        manifest_digest=bundle.manifest_digest,
        provenance=bundle.read_member(PROVENANCE_PATH),
    )


def signature_report(bundle: Bundle, policy: TrustPolicy, today: dt.date) -> SignatureReport:
    """Check the signatures of a bundle against a policy."""
    return check_signatures(bundle.signatures, claim_of(bundle), policy, load_verifiers(policy), today)


def require_trust(
    report: SignatureReport,
    name: str,
    *,
    allow_other: bool = False,
    unsigned_hint: str = "",
    others_hint: tuple[str, ...] = (),
) -> None:
    """Raise unless at least one trusted key signed, the policy refused none, and every signature is from a trusted key.

    Args:
        report: The results for all signatures.
        name: The bundle's name, for messages.
        allow_other: Whether there may be signatures that no trusted key verifies, beside a trusted one.
        unsigned_hint: What to do about an unsigned bundle.
        others_hint: What to do about such signatures, besides trusting their keys.

    Raises:
        TrustError: Unsigned, or a signature that no trusted key verifies.
        PolicyError: A valid signature that the policy refuses.
    """
    if not report.results:
        raise TrustError(f"{name} is unsigned", hints=(unsigned_hint,) if unsigned_hint else ())
    for result in report.of("refused"):
        raise PolicyError(f"{name}: {result.reason}")
    others = report.of("untrusted")
    if others and not (allow_other and report.of("trusted")):
        raise TrustError(
            f"{name}: signature by key {others[0].key_id}: {others[0].reason}",
            hints=("trust that key too, with another --key or a policy file", *others_hint)
            if report
            else ("give the signer's public key: --key PUB",),
        )


def today_utc() -> dt.date:
    """Return the current date. The clock is read only here."""
    return dt.datetime.now(dt.UTC).date()


def trusted_statement(
    bundle: Bundle, path: Path, policy: TrustPolicy, today: dt.date, predicate_type: str
) -> SignatureResult:
    """Return a statement about a bundle that is kept beside it, if a trusted key signed it.

    Args:
        bundle: The bundle.
        path: The statement's file.
        policy: The keys to trust.
        today: The date for checking validity.
        predicate_type: What kind of statement it has to be.

    Raises:
        FormatError: It is not such a statement, or not in the one accepted encoding.
        PolicyError: A valid signature that the policy refuses.
        TrustError: No trusted key signed it, or it is about another bundle.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrustError(f"cannot read {path}: {error.strerror}") from None
    verifiers = load_verifiers(policy)
    result = check_signature(data, claim_of(bundle), policy, verifiers, today, predicate_type=predicate_type)
    if result.verdict == "refused":
        raise PolicyError(f"{path.name}: {result.reason}")
    if result.verdict != "trusted":
        raise TrustError(
            f"{path.name}: signature by key {result.key_id}: {result.reason}",
            hints=("trust the signer's public key: --key PUB, or in a policy file",),
        )
    return result


def trusted_quality(bundle: Bundle, path: Path, policy: TrustPolicy, today: dt.date) -> SignatureResult:
    """Return a statement of a bundle's quality, if a trusted key signed it.

    Args:
        bundle: The bundle.
        path: The statement's file.
        policy: The keys to trust.
        today: The date for checking validity.

    Raises:
        FormatError: It is not such a statement, or not in the one accepted encoding.
        IntegrityError: It is about other weights.
        PolicyError: A valid signature that the policy refuses.
        TrustError: No trusted key signed it, or it is about another bundle.
    """
    result = trusted_statement(bundle, path, policy, today, QUALITY_TYPE)
    try:
        if "cosine" in result.predicate:
            _ = str(result.predicate["cosine"]["mean"]), str(result.predicate["cosine"]["least"])
        else:
            _ = str(result.predicate["perplexity"]), str(result.predicate["reference"]["perplexity"])
        _ = str(result.predicate["text"]["name"]), str(result.predicate["text"]["digest"]["sha256"])
        measured = Digest(result.predicate["weights"]["digest"]["sha256"])
    except (KeyError, TypeError, ValueError):
        raise FormatError(f"{path.name}: it does not say what was measured") from None
    has = bundle.manifest.weights.sha256
    if measured != has:
        raise IntegrityError(f"{path.name}: it is about weights of sha256 {measured}, the bundle has {has}")
    return result
