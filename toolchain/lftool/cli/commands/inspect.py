"""`lftool inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lftool.cli.shared_options import bundle_argument, json_option, print_json, say, size_text

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.ops.bundles.inspect import Inspection


_DOES = {"generates": "text generation", "embeds": "text embedding", "ranks": "reranking"}


@click.command("inspect")
@bundle_argument
@json_option
def command(bundle: Path, as_json: bool) -> None:
    """Show members, tensors, run contract, provenance and signers of BUNDLE. Checks its structure, not its signers."""
    from lftool.ops.bundles.inspect import inspect_bundle

    found = inspect_bundle(bundle)
    if as_json:
        print_json(_as_json(found))
    else:
        _show(found)


def _as_json(found: Inspection) -> dict[str, Any]:
    from lftool.codec.converter import to_plain

    header = found.header
    return {
        "path": str(found.path.absolute()),
        "size": found.size,
        "manifest_sha256": found.manifest_digest.hex,
        "manifest": to_plain(found.manifest),
        "offsets": found.offsets,
        "weights": {
            "architecture": header.metadata.get("general.architecture"),
            "does": found.kind.does,
            "pooling": found.kind.pooling,
            "elements": header.elements,
            "bytes_by_type": header.bytes_by_type(),
            "tensors": [
                {"name": t.name, "type": t.type.name, "dimensions": list(t.dimensions), "size": t.size}
                for t in header.tensors
            ],
        },
        "provenance": found.provenance,
        "key_ids": list(found.key_ids),
    }


def _show(found: Inspection) -> None:
    manifest, header = found.manifest, found.header
    say(
        f"{manifest.name} {manifest.version}, target {manifest.target}: {size_text(found.size)}, layout {manifest.layout}"
    )
    say(f"  identity   M {found.manifest_digest}")
    signers = ", ".join(key[:16] for key in found.key_ids)
    say(f"  signed     {f'with key {signers} (not checked here: lftool verify)' if signers else 'no'}")
    say(
        f"  weights    {header.metadata.get('general.architecture', '?')}, {header.elements / 1e6:.2f} M weights in {len(header.tensors)} tensors"
    )
    pooled = f", pooling {found.kind.pooling or 'not defined'}" if found.kind.does == "embeds" else ""
    say(f"             {_DOES[found.kind.does]}{pooled}")
    for kind, size in header.bytes_by_type().items():
        count = sum(1 for tensor in header.tensors if tensor.type.name == kind)
        say(f"             {kind:<8} {count:>5} tensors  {size_text(size):>10}")
    say("  run        " + ("; ".join(_contract(found)) or "no contract"))
    say(
        f"  prefix     {manifest.prefix.role:<12} {size_text(manifest.prefix.size):>10}  sha256 {manifest.prefix.sha256.hex[:16]}…"
    )
    for member in manifest.members:
        say(
            f"  member     {member.role:<12} {size_text(member.size):>10}  {member.path} at {found.offsets[member.path]}"
        )
    for dependency in found.provenance["buildDefinition"]["resolvedDependencies"]:
        say(f"  made from  {dependency['name']}  sha256 {dependency['digest']['sha256'][:16]}…")


def _contract(found: Inspection) -> list[str]:
    from lftool.codec.converter import to_plain

    return [
        f"{key} {value!r}" if isinstance(value, str) and key == "system" else f"{key} {value}"
        for key, value in to_plain(found.manifest.run).items()
    ]
