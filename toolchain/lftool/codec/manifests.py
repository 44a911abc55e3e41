"""Parse and write bundle manifests as canonical JSON."""

from __future__ import annotations

from lftool.codec.canonical import canonical_json, parse_canonical_json
from lftool.codec.toml_in import structure
from lftool.errors import FormatError
from lftool.models.manifest import BundleManifest
from lftool.models.rules import RULES


def emit_manifest(manifest: BundleManifest) -> bytes:
    """Return the bytes of `lftool/bundle.json`."""
    from lftool.codec.converter import to_plain  # noqa: PLC0415 - cattrs is heavy; see the start-up test

    return canonical_json(to_plain(manifest))


def parse_manifest(data: bytes, what: str) -> BundleManifest:
    """Return the manifest in `data`.

    Raises:
        FormatError: Not canonical JSON, another rules version, an unknown key, or values that contradict each other.
    """
    table = parse_canonical_json(data, what)
    if isinstance(table, dict) and type(table.get("rules")) is int and table["rules"] > RULES:
        raise FormatError(f"{what}: rules {table['rules']}, this lftool knows {RULES}", hints=("use a newer lftool",))
    manifest = structure(table, BundleManifest, what, FormatError)
    if emit_manifest(manifest) != data:
        raise FormatError(f"{what}: not the canonical encoding of its values")
    return manifest
