"""`lftool verify`: is this file what it says, and has somebody we trust signed it? No third-party plugin is loaded."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

from attrs import frozen

from lftool.api import Verifier, VerifierType
from lftool.bundle.contents import check_contents, check_flat_digests, unsigned_artifact
from lftool.bundle.reader import Bundle, open_for_reading, read_bundle
from lftool.codec.policies import parse_policy
from lftool.codec.toml_in import read_bytes
from lftool.errors import IntegrityError, PolicyError, TrustError
from lftool.host.registry import Registry
from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import PROVENANCE_PATH, BundleManifest
from lftool.models.policy import P256, TrustedKey, TrustPolicy
from lftool.trust.envelope import decode_envelope
from lftool.trust.verification import Claim, SignatureReport, check_signatures


@frozen(kw_only=True)
class VerifyOptions:
    """How to verify.

    Attributes:
        policy: Whom to trust; None only together with `allow_unsigned`.
        full: Also recompute flat digests, CRC-32s and sha256(U).
        allow_unsigned: Check integrity only, and say so.
        allow_other_signatures: Signatures that no trusted key verifies do not fail the verification.
        threads: How many to hash with; all processors by default.
    """

    policy: TrustPolicy | None
    full: bool = False
    allow_unsigned: bool = False
    allow_other_signatures: bool = False
    threads: int | None = None


@frozen(kw_only=True)
class Verification:
    """What was found. `signatures` is None when only integrity was asked for."""

    path: Path
    manifest: BundleManifest
    manifest_digest: Digest
    unsigned: Artifact | None
    signatures: SignatureReport | None
    full: bool

    @property
    def signed_by(self) -> tuple[str, ...]:
        """Names of the trusted keys that signed, sorted."""
        if self.signatures is None:
            return ()
        return tuple(sorted({result.key_name for result in self.signatures.of("trusted")}))


def policy_of_key(path: Path) -> TrustPolicy:
    """Return the policy that trusts one public key for everything.

    Raises:
        TrustError: The file cannot be read.
    """
    pem = read_bytes(path, "--key", TrustError).decode(errors="replace")
    return TrustPolicy(keys=(TrustedKey(name=path.name, public_key=pem),))


def read_policy(path: Path) -> TrustPolicy:
    """Return the policy in a file.

    Raises:
        TrustError: It cannot be read or is malformed.
    """
    return parse_policy(read_bytes(path, "trust policy", TrustError), str(path))


def _verifiers(policy: TrustPolicy) -> dict[str, Verifier]:
    schemes = {key.scheme for key in policy.keys}
    registry = Registry.discovered(third_party=bool(schemes - {P256}))
    verifiers = {scheme: registry.get(VerifierType, scheme, TrustError).record.factory() for scheme in sorted(schemes)}
    for key in policy.keys:
        verifiers[key.scheme].key_id(key.public_key)
    return verifiers


def claim_of(bundle: Bundle) -> Claim:
    """Return what signatures of `bundle` must be about."""
    return Claim(
        manifest=bundle.manifest,
        manifest_digest=bundle.manifest_digest,
        provenance=bundle.read_member(PROVENANCE_PATH),
    )


def signature_report(bundle: Bundle, policy: TrustPolicy, today: dt.date) -> SignatureReport:
    """Check the signatures of a bundle against a policy."""
    return check_signatures(bundle.signatures, claim_of(bundle), policy, _verifiers(policy), today)


def require_trust(report: SignatureReport, name: str, *, allow_other: bool = False) -> None:
    """Raise unless at least one trusted key signed, none was refused, and no signature is left uncovered.

    Raises:
        TrustError: Unsigned, or a signature that no trusted key verifies.
        PolicyError: A valid signature that the policy refuses.
    """
    if not report.results:
        raise TrustError(f"{name} is unsigned", hints=("to check integrity only, and know that: --allow-unsigned",))
    for result in report.of("refused"):
        raise PolicyError(f"{name}: {result.reason}")
    others = report.of("untrusted")
    if others and not (allow_other and report.of("trusted")):
        raise TrustError(
            f"{name}: signature by key {others[0].key_id}: {others[0].reason}",
            hints=("trust that key in a policy file",) if report else ("give the signer's public key: --key PUB",),
        )


def _check_unsigned_subject(report: SignatureReport, unsigned: Artifact, name: str) -> None:
    for result in report.of("trusted"):
        if result.unsigned != unsigned.sha256:
            raise IntegrityError(f"{name}: the signature names U {result.unsigned}, the file gives {unsigned.sha256}")


def verify_descriptor(
    descriptor: int, path: Path, options: VerifyOptions, today: dt.date
) -> tuple[Bundle, Verification]:
    """Verify the bundle behind an open descriptor; use its content through that descriptor only.

    The order is that of docs/reference/bundle-format.md: structure, signatures over raw bytes, M, contents, policy.

    Raises:
        FormatError: Not a canonical bundle.
        IntegrityError: A content is not what the manifest names.
        TrustError: No trusted signature.
        PolicyError: A valid signature that the policy refuses.
    """
    bundle = read_bundle(descriptor, path.name)
    report = None if options.policy is None else signature_report(bundle, options.policy, today)
    check_contents(bundle, threads=options.threads)
    unsigned = None
    if options.full:
        check_flat_digests(bundle)
        unsigned = unsigned_artifact(bundle)
        if report is not None:
            _check_unsigned_subject(report, unsigned, path.name)
    if report is not None and (report.results or not options.allow_unsigned):
        require_trust(report, path.name, allow_other=options.allow_other_signatures)
    if report is None and not options.allow_unsigned:
        raise TrustError(
            f"{path.name}: nobody said whom to trust", hints=("give --key PUB, --trust FILE, or --allow-unsigned",)
        )
    return bundle, Verification(
        path=path,
        manifest=bundle.manifest,
        manifest_digest=bundle.manifest_digest,
        unsigned=unsigned,
        signatures=report,
        full=options.full,
    )


def verify_bundle(path: Path, options: VerifyOptions, today: dt.date | None = None) -> Verification:
    """Verify the bundle at `path`; see `verify_descriptor`.

    Raises:
        StorageError: It cannot be read.
    """
    descriptor = open_for_reading(path)
    try:
        return verify_descriptor(descriptor, path, options, today or today_utc())[1]
    finally:
        os.close(descriptor)


def today_utc() -> dt.date:
    """Return the current day; the clock is read here and nowhere below."""
    return dt.datetime.now(dt.UTC).date()


def signer_hints(bundle: Bundle) -> tuple[str, ...]:
    """Return the key ids that the signatures claim, unproven."""
    return tuple(decode_envelope(data, "signature member").key_id for data in bundle.signatures)
