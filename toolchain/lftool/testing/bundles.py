"""Bundles with other contents than lftool would write, for tests of what must be refused."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import attrs

from lftool.bundle.bundle_files import opened
from lftool.bundle.reader import manifest_entries, signature_path
from lftool.bundle.structure import arrange
from lftool.codec.manifests import emit_manifest
from lftool.models.digest import Digest
from lftool.models.manifest import MANIFEST_PATH, Member, Role, member_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def _member(path: str, role: Role, data: bytes) -> Member:
    return Member(path=path, role=role, size=len(data), sha256=Digest.of(data), crc32=f"{zlib.crc32(data):08x}")


def rewrite_bundle(
    source: Path, destination: Path, *, contents: Mapping[str, bytes] | None = None, signatures: Sequence[bytes] = ()
) -> Path:
    """Write `source` again with other contents and signatures, but a sound structure; return `destination`.

    Args:
        source: A bundle whose contents fit into memory.
        destination: Path to write.
        contents: Member path to other content; `""` is the prefix. The chunk table stays as it is unless given.
        signatures: Signature members.
    """
    changed = dict(contents or {})
    with opened(source) as bundle:
        manifest = bundle.manifest
        prefix = changed.pop("", bundle.read(0, manifest.prefix.size))
        kept = {
            member.path: bundle.read(bundle.placed(member.path).data_offset, member.size) for member in manifest.members
        }
    kept |= changed
    members = tuple(
        sorted((_member(item.path, item.role, kept[item.path]) for item in manifest.members), key=member_order)
    )
    first = attrs.evolve(manifest.prefix, size=len(prefix), sha256=Digest.of(prefix), crc32=f"{zlib.crc32(prefix):08x}")
    encoded = emit_manifest(attrs.evolve(manifest, prefix=first, members=members))
    named = sorted((signature_path(data), data) for data in signatures)
    arrangement = arrange(
        len(prefix), manifest_entries(attrs.evolve(manifest, prefix=first, members=members), encoded, named)
    )
    everything = {**kept, MANIFEST_PATH: encoded, **dict(named)}
    pieces = [prefix]
    for item in arrangement.members:
        pieces += [bytes(item.gap), item.header, everything[item.entry.path]]
    destination.write_bytes(b"".join([*pieces, arrangement.directory]))
    return destination
