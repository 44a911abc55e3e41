"""`lftool inspect`: show the content of a bundle without trusting or running it; uses built-in plugins only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import weights_header
from lftool.codec.locks import parse_lock
from lftool.errors import LockError
from lftool.formats.gguf_read import GGUFHeader
from lftool.formats.model_kind import ModelKind, model_kind
from lftool.host.rendering import template_lints
from lftool.models.digest import Digest
from lftool.models.manifest import LOCK_PATH, BundleManifest
from lftool.ops.bundles.claims import provenance, signer_hints

if TYPE_CHECKING:
    from lftool.bundle.reader import Bundle


@frozen(kw_only=True)
class ChatTemplate:
    """The chat template in the weights.

    Attributes:
        sha256: Digest of its text.
        from_source: Whether it came with the weights, and not from the recipe; None if the lock cannot be read.
        lints: What is worth a look, a sentence each.
    """

    sha256: Digest
    from_source: bool | None
    lints: tuple[str, ...]


@frozen(kw_only=True)
class Inspection:
    """The description of a bundle. Contents have not been hashed, and signatures have not been checked.

    Attributes:
        offsets: Member path to data offset in bytes.
        kind: What the model does.
        key_ids: Key ids in the signatures, unproven.
        template: The chat template in the weights; None if there is none.
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
    template: ChatTemplate | None = None


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
            template=_template(header, bundle),
        )


def _template(header: GGUFHeader, bundle: Bundle) -> ChatTemplate | None:
    text = header.metadata.get("tokenizer.chat_template")
    if not isinstance(text, str):
        return None
    return ChatTemplate(sha256=Digest.of(text.encode()), from_source=_from_source(bundle), lints=template_lints(text))


def _from_source(bundle: Bundle) -> bool | None:
    """Return whether the template is the source's; None if this lftool cannot read the lock, as of a newer one."""
    try:
        lock = parse_lock(bundle.read_member(LOCK_PATH), f"{bundle.name}: {LOCK_PATH}")
    except LockError:
        return None
    locked = lock.targets.get(bundle.manifest.target)
    return locked is None or locked.metadata is None or locked.metadata.template is None
