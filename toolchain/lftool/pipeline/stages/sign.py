"""sign: the name of U becomes a signature member; the same key gives the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import Signer, SignerContext, Verifier, VerifierType
from lftool.errors import TrustError
from lftool.host.guarding import guarded
from lftool.trust.signing import sign_statement
from lftool.trust.statement import Statement

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.host.registry import Registry
    from lftool.models.digest import Digest
    from lftool.models.recipe import SignSpec
    from lftool.pipeline.stages.pack import PackPlan


@frozen(kw_only=True)
class SigningKey:
    """An opened key: what signs, what checks it, and its id."""

    signer: Signer
    verifier: Verifier
    key_id: str


def open_key(spec: SignSpec, project: Path, registry: Registry) -> SigningKey:
    """Open the key that a recipe names.

    Raises:
        TrustError: It is not there, or no key.
        RecipeError: No plugin opens such references.
    """
    scheme, _, rest = spec.key.partition(":")
    registered = registry.signer(scheme)
    with guarded(registered.origin):
        signer = registered.record.factory(SignerContext(project=project, scheme=scheme, rest=rest))
        verifier = registry.get(VerifierType, signer.scheme, TrustError).record.factory()
        return SigningKey(signer=signer, verifier=verifier, key_id=verifier.key_id(signer.public_key()))


def sign(plan: PackPlan, manifest: Digest, unsigned: Digest, key: SigningKey) -> bytes:
    """Return the signature member for a packed bundle.

    Args:
        plan: The planned bundle.
        manifest: M.
        unsigned: sha256 of U.
        key: Whose signature.

    Raises:
        TrustError: The signer's signature does not verify.
    """
    statement = Statement(bundle=plan.manifest.stem, manifest=manifest, unsigned=unsigned, predicate=plan.predicate)
    return sign_statement(statement, key.signer, key.verifier)
