"""`lftool inspect`: show the content of a bundle without trusting or running it; uses built-in plugins only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen

from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import weights_header
from lftool.formats.gguf_read import GGUFHeader
from lftool.formats.model_kind import ModelKind, model_kind
from lftool.models.digest import Digest
from lftool.models.manifest import BundleManifest
from lftool.ops.bundles.claims import provenance, signer_hints


@frozen(kw_only=True)
class Inspection:
    """The description of a bundle. Contents have not been hashed, and signatures have not been checked.

    Attributes:
        offsets: Member path to data offset in bytes.
        kind: What the model does.
        key_ids: Key ids in the signatures, unproven.
    """

    path: Path
    size: int
    manifest: BundleManifest
    manifest_digest: Digest
    offsets: dict[str, int]
    header: GGUFHeader
    kind: ModelKind
    provenance: Any
    key_ids: tuple[str, ...]


def inspect_bundle(path: Path) -> Inspection:
    """Return the description of the bundle at `path`.

    Raises:
        StorageError: It cannot be read.
        FormatError: It is not a canonical bundle.
    """
    with opened(path) as bundle:
        header = weights_header(bundle)
        return Inspection(
            path=path,
            size=bundle.size,
            manifest=bundle.manifest,
            manifest_digest=bundle.manifest_digest,
            offsets={item.entry.path: item.data_offset for item in bundle.arrangement.members},
            header=header,
            kind=model_kind(header),
            provenance=provenance(bundle),
            key_ids=signer_hints(bundle),
        )
