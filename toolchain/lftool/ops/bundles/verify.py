"""`lftool verify`: check that a file is intact and signed by a trusted key. Loads no third-party plugin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import check_flat_digests, hashing_contents, unsigned_artifact
from lftool.errors import IntegrityError, TrustError
from lftool.host.verifiers import load_verifiers
from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import BundleManifest
from lftool.models.policy import TrustPolicy
from lftool.ops.bundles.claims import check_documents
from lftool.ops.bundles.slices import check_claims
from lftool.ops.bundles.trust import require_trust, signature_report, today_utc, trusted_quality
from lftool.ops.bundles.vouching import trusted_rebuild
from lftool.trust.verification import SignatureReport

if TYPE_CHECKING:
    import datetime as dt

    from lftool.bundle.reader import Bundle


@frozen(kw_only=True)
class VerifyOptions:
    """How to verify.

    Attributes:
        policy: The keys to trust; None only together with `allow_unsigned`.
        full: Also recompute flat digests, CRC-32s and sha256(U).
        allow_unsigned: Check integrity only, and say so in the output.
        allow_other_signatures: Ignore signatures that no trusted key verifies.
        quality: A statement from `lftool quality` to check too; needs a policy.
        rebuilt: Statements from `lftool rebuild` to check too; they need a policy.
        threads: Number of hashing threads; all processors by default.
    """

    policy: TrustPolicy | None
    full: bool = False
    allow_unsigned: bool = False
    allow_other_signatures: bool = False
    quality: Path | None = None
    rebuilt: tuple[Path, ...] = ()
    threads: int | None = None


@frozen(kw_only=True)
class Verification:
    """The result. `signatures` is None if only integrity was checked; `quality` is a statement's predicate.

    `rebuilt_by` has the names of the trusted keys that signed statements of rebuilds.
    """

    path: Path
    manifest: BundleManifest
    manifest_digest: Digest
    unsigned: Artifact | None
    signatures: SignatureReport | None
    full: bool
    quality: Any = None
    rebuilt_by: tuple[str, ...] = ()

    @property
    def signed_by(self) -> tuple[str, ...]:
        """Names of the trusted keys that signed the bundle, sorted."""
        if self.signatures is None:
            return ()
        return tuple(sorted({result.key_name for result in self.signatures.of("trusted")}))


def _check_unsigned_subject(report: SignatureReport, unsigned: Artifact, name: str) -> None:
    for result in report.of("trusted"):
        if result.unsigned != unsigned.sha256:
            raise IntegrityError(
                f"{name}: the signature is about an unsigned bundle with sha256 {result.unsigned}, but this one has {unsigned.sha256}"
            )


def verify_opened(bundle: Bundle, path: Path, options: VerifyOptions, today: dt.date) -> Verification:
    """Verify an open bundle; use its content only through its open files.

    The order follows docs/reference/bundle-format.md: structure, signatures over raw bytes, M, contents, policy.

    Raises:
        FormatError: Not a canonical bundle.
        IntegrityError: A content does not match the manifest.
        TrustError: No trusted signature.
        PolicyError: A valid signature that the policy refuses.
    """
    check_documents(bundle)
    with hashing_contents(bundle, threads=options.threads):
        report = None if options.policy is None else signature_report(bundle, options.policy, today)
    unsigned = None
    if options.full:
        check_flat_digests(bundle)
        unsigned = unsigned_artifact(bundle)
        if report is not None:
            _check_unsigned_subject(report, unsigned, path.name)
    check_claims(bundle)
    if report is not None and (report.results or not options.allow_unsigned):
        require_trust(
            report,
            path.name,
            allow_other=options.allow_other_signatures,
            unsigned_hint="to check only its integrity: --allow-unsigned",
            others_hint=("or list signatures of other keys instead of failing: --allow-other-signatures",),
        )
    if report is None and not options.allow_unsigned:
        raise TrustError(
            f"{path.name}: no trusted key or policy given", hints=("give --key PUB, --trust FILE, or --allow-unsigned",)
        )
    quality = None
    if options.quality is not None:
        if options.policy is None:
            raise TrustError(
                f"{options.quality}: no trusted key or policy given", hints=("give --key PUB or --trust FILE",)
            )
        stated = trusted_quality(bundle, options.quality, options.policy, today)
        if unsigned is not None and stated.unsigned != unsigned.sha256:
            raise IntegrityError(
                f"{options.quality}: it is about an unsigned bundle with sha256 {stated.unsigned}, but this one has {unsigned.sha256}"
            )
        quality = stated.predicate
    rebuilt_by = tuple(dict.fromkeys(_rebuilder(bundle, path, unsigned, options, today) for path in options.rebuilt))
    return Verification(
        path=path,
        manifest=bundle.manifest,
        manifest_digest=bundle.manifest_digest,
        unsigned=unsigned,
        signatures=report,
        full=options.full,
        quality=quality,
        rebuilt_by=rebuilt_by,
    )


def _rebuilder(bundle: Bundle, path: Path, unsigned: Artifact | None, options: VerifyOptions, today: dt.date) -> str:
    """Return the name of the trusted key that vouches for a bundle with a statement of a rebuild."""
    if options.policy is None:
        raise TrustError(f"{path}: no trusted key or policy given", hints=("give --key PUB or --trust FILE",))
    stated = trusted_rebuild(bundle, path, options.policy, today)
    if unsigned is not None and stated.unsigned != unsigned.sha256:
        raise IntegrityError(
            f"{path}: it is about an unsigned bundle with sha256 {stated.unsigned}, but this one has {unsigned.sha256}"
        )
    return stated.key_name


def verify_bundle(path: Path, options: VerifyOptions, today: dt.date | None = None) -> Verification:
    """Verify the bundle at `path`; see `verify_opened`.

    Raises:
        StorageError: It cannot be read.
    """
    if options.policy is not None:
        load_verifiers(options.policy)  # report a faulty key now, not after hashing the whole bundle
    with opened(path) as bundle:
        return verify_opened(bundle, path, options, today or today_utc())
