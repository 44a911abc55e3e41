"""`lftool sign`: add a signature to a finished bundle. Its other bytes, M and U stay as they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.contents import check_contents, unsigned_artifact
from lftool.bundle.reader import read_bundle
from lftool.bundle.writer import signed_tail
from lftool.errors import FormatError
from lftool.models.recipe import SignSpec
from lftool.ops.bundles.claims import check_documents, provenance
from lftool.pipeline.stages.signature import open_key
from lftool.store.durable import durable_file
from lftool.store.reading import open_for_reading
from lftool.trust.signing import sign_statement
from lftool.trust.statement import Statement

if TYPE_CHECKING:
    from lftool.pipeline.ports import Ports


@frozen(kw_only=True)
class SignedBundle:
    """The result.

    Attributes:
        path: The signed file.
        key_id: Of the key that signed.
        added: False if this signature was there already; then nothing was written.
        signatures: How many the file has.
    """

    path: Path
    key_id: str
    added: bool
    signatures: int


def sign_bundle(path: Path, key: Path, output: Path | None, ports: Ports) -> SignedBundle:
    """Check a bundle, and write it with one more signature.

    Args:
        path: The bundle.
        key: The private key.
        output: Where to write; None replaces the bundle once the new file is complete.
        ports: Registry and files.

    Raises:
        FormatError: Not a canonical bundle, or it has as many signatures as a bundle can have.
        IntegrityError: A content does not match the manifest.
        TrustError: The key cannot be read, or its signature does not verify.
        StorageError: The file cannot be read or written.
    """
    signing = open_key(SignSpec(key=f"file:{key}"), key, ports)
    descriptor = open_for_reading(path)
    try:
        bundle = read_bundle(descriptor, path.name)
        check_documents(bundle)
        check_contents(bundle)
        statement = Statement(
            bundle=bundle.manifest.stem,
            manifest=bundle.manifest_digest,
            unsigned=unsigned_artifact(bundle).sha256,
            predicate=provenance(bundle),
        )
        member = sign_statement(statement, signing.signer, signing.verifier)
        known = member in bundle.signatures
        destination = output or path.resolve()
        signatures = bundle.signatures if known else (*bundle.signatures, member)
        _, tail, _ = signed_tail(bundle.manifest, bundle.manifest_bytes, signatures)
        if not known or output is not None:
            with durable_file(destination.parent, "bundle") as file:
                if unsigned_artifact(bundle, file.file).sha256 != statement.unsigned:
                    raise FormatError(f"{path.name}: it changed while it was being signed")
                file.file.write(tail)
                file.commit(destination, mode=stat.S_IMODE(bundle.status.st_mode))
    finally:
        os.close(descriptor)
    return SignedBundle(path=destination, key_id=signing.key_id, added=not known, signatures=len(signatures))
