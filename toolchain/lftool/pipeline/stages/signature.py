"""sign: turn the names of a bundle into a signature member. The same key gives the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import ProjectFiles, Signer, SignerContext, Verifier, VerifierType
from lftool.errors import RecipeError, TrustError
from lftool.host.given_options import given_options
from lftool.host.guarding import guarded
from lftool.host.returned import GuardedSigner, GuardedVerifier
from lftool.trust.signing import sign_statement
from lftool.trust.statement import Statement

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.models.digest import Digest
    from lftool.models.recipe import SignSpec
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.stages.packing import PackPlan


@frozen(kw_only=True)
class SigningKey:
    """An opened key: its signer, its verifier and its id."""

    signer: Signer
    verifier: Verifier
    key_id: str


def open_key(spec: SignSpec, own: Path | None, ports: Ports) -> SigningKey:
    """Open the signing key: the user's, or else the one that the recipe names in the project or a root.

    Args:
        spec: The recipe's `[sign]` table.
        own: Path of the user's key, which overrides the recipe's; None if there is none.
        ports: Registry and files.

    Raises:
        TrustError: The key does not exist, or is not a key.
        RecipeError: No plugin opens such references, or the file is outside the project and the roots.
    """
    scheme, _, rest = spec.key.partition(":")
    files, registry = ports.files, ports.registry
    if own is not None:
        path = own.expanduser().resolve()
        scheme, rest, files = "file", path.name, ProjectFiles(project=path.parent)
    registered = registry.signer(scheme)
    given = spec.options if own is None else {}  # they belong to the recipe's key
    options = given_options(registered.record, given, "signer", "lftool.toml: $.sign.options", RecipeError)
    context = SignerContext(project=ports.project, scheme=scheme, rest=rest, files=files, options=options)
    with guarded(registered.origin):
        made = registered.record.factory(context)
    signer = GuardedSigner(made, registered.origin)
    checking = registry.get(VerifierType, signer.scheme, TrustError)
    with guarded(checking.origin):
        verifier = GuardedVerifier(checking.record.factory(), checking.origin)
    return SigningKey(signer=signer, verifier=verifier, key_id=verifier.key_id(signer.public_key()))


def sign(plan: PackPlan, manifest: Digest, unsigned: Digest, key: SigningKey) -> bytes:
    """Return the signature member for a packed bundle.

    Args:
        plan: The planned bundle.
        manifest: Digest of the manifest (M), the bundle's identity.
        unsigned: Digest of the unsigned bundle (U).
        key: The signing key.

    Raises:
        TrustError: The new signature does not verify.
    """
    statement = Statement(bundle=plan.manifest.stem, manifest=manifest, unsigned=unsigned, predicate=plan.predicate)
    return sign_statement(statement, key.signer, key.verifier)
