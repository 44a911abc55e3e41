"""`lftool sign`: add a signature to a finished bundle. Its other bytes, M and U stay as they are."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.contents import hashing_contents
from lftool.bundle.reader import (
    MAX_SIGNATURES,
    Bundle,
    manifest_entries,
    read_bundle,
    read_exactly,
    signature_path,
)
from lftool.bundle.structure import arrange
from lftool.errors import FormatError
from lftool.models.digest import Digest
from lftool.models.recipe import SignSpec
from lftool.ops.bundles.claims import check_documents, provenance
from lftool.pipeline.stages.signature import open_key
from lftool.store.durable import durable_file
from lftool.store.reading import open_for_reading
from lftool.trust.signing import sign_statement
from lftool.trust.statement import Statement

if TYPE_CHECKING:
    from typing import BinaryIO

    from lftool.pipeline.ports import Ports

_PIECE = 1 << 22


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
        with hashing_contents(bundle):
            pass
        statement = Statement(
            bundle=bundle.manifest.stem,
            manifest=bundle.manifest_digest,
            unsigned=_copy_body(bundle, None),
            predicate=provenance(bundle),
        )
        member = sign_statement(statement, signing.signer, signing.verifier)
        known = member in bundle.signatures
        destination = output or path.resolve()
        signatures = bundle.signatures if known else (*bundle.signatures, member)
        if len(signatures) > MAX_SIGNATURES:
            raise FormatError(
                f"{path.name}: it has {len(bundle.signatures)} signatures, the most that a bundle can have"
            )
        if not known or output is not None:
            with durable_file(destination.parent, "bundle") as file:
                if _copy_body(bundle, file.file) != statement.unsigned:
                    raise FormatError(f"{path.name}: it changed while it was being signed")
                file.file.write(_tail(bundle, signatures))
                file.commit(destination, mode=stat.S_IMODE(bundle.status.st_mode))
    finally:
        os.close(descriptor)
    return SignedBundle(path=destination, key_id=signing.key_id, added=not known, signatures=len(signatures))


def _copy_body(bundle: Bundle, out: BinaryIO | None) -> Digest:
    """Write everything in front of signatures and directory to `out`, if there is one; return sha256(U)."""
    arrangement = bundle.unsigned_arrangement()
    state, position = hashlib.sha256(), 0
    while position < arrangement.directory_offset:
        size = min(_PIECE, arrangement.directory_offset - position)
        piece = read_exactly(bundle.descriptor, position, size, bundle.name)
        state.update(piece)
        if out is not None:
            out.write(piece)
        position += size
    state.update(arrangement.directory)
    return Digest(state.hexdigest())


def _tail(bundle: Bundle, signatures: tuple[bytes, ...]) -> bytes:
    """Return the signature members and the directory, which follow the body."""
    members = sorted((signature_path(data), data) for data in signatures)
    arrangement = arrange(
        bundle.manifest.prefix.size, manifest_entries(bundle.manifest, bundle.manifest_bytes, members)
    )
    placed = {item.entry.path: item for item in arrangement.members}
    pieces = [bytes(placed[path].gap) + placed[path].header + data for path, data in members]
    return b"".join([*pieces, arrangement.directory])
