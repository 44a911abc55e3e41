"""`lftool inspect`: what is in a bundle, without trusting or running anything; built-in plugins only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen

from lftool.bundle.contents import weights_header
from lftool.bundle.reader import opened
from lftool.formats.gguf_read import GGUFHeader
from lftool.formats.model_kind import ModelKind, model_kind
from lftool.models.digest import Digest
from lftool.models.manifest import BundleManifest
from lftool.ops.bundles.claims import provenance, signer_hints


@frozen(kw_only=True)
class Inspection:
    """What a bundle says of itself; its contents have not been hashed, its signatures not checked.

    Attributes:
        offsets: Member path to data offset in bytes.
        kind: What the model does.
        key_ids: Ids of the keys that the signatures name, unproven.
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
    """Return what the bundle at `path` says of itself.

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
