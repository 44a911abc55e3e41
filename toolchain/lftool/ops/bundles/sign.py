"""`lftool sign`: add a signature to a finished bundle. Its other bytes, M and U stay as they are."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import check_contents, unsigned_artifact
from lftool.bundle.copying import copy_extents
from lftool.bundle.detached import SIDECAR, sidecar_extents
from lftool.bundle.writer import signed_tail
from lftool.errors import FormatError
from lftool.models.recipe import SignSpec
from lftool.ops.bundles.claims import check_documents, provenance
from lftool.pipeline.stages.signature import open_key
from lftool.store.durable import durable_file
from lftool.trust.signing import sign_statement
from lftool.trust.statement import Statement

if TYPE_CHECKING:
    from lftool.bundle.reader import Bundle
    from lftool.pipeline.ports import Ports
    from lftool.store.durable import DurableFile


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
    with opened(path) as bundle:
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
        if bundle.detached:
            destination = output or path.resolve().with_suffix(SIDECAR)
        if not known or output is not None:
            with durable_file(destination.parent, "bundle") as file:
                _write(bundle, signatures, statement, file)
                file.commit(destination, mode=stat.S_IMODE(bundle.status.st_mode))
    return SignedBundle(path=destination, key_id=signing.key_id, added=not known, signatures=len(signatures))


def _write(bundle: Bundle, signatures: tuple[bytes, ...], statement: Statement, out: DurableFile) -> None:
    """Write a bundle with other signatures; of a detached one, only its sidecar."""
    if bundle.detached:
        copy_extents(sidecar_extents(bundle, signatures), out.file.fileno(), threading.Event())
        return
    _, tail, _ = signed_tail(bundle.manifest, bundle.manifest_bytes, signatures)
    if unsigned_artifact(bundle, out.file).sha256 != statement.unsigned:
        raise FormatError(f"{bundle.name}: it changed while it was being signed")
    out.file.write(tail)
