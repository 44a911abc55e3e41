"""`lftool inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftool.cli.shared_options import counted, json_option, print_json, say, shortened, size_text
from lftool.models.terminal import verbosity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lftool.ops.bundles.inspect import Inspection


_ORIGINS = {True: "the source's", False: "the recipe's", None: "of unknown origin"}
_DOES = {"generates": "text generation", "embeds": "text embedding", "ranks": "reranking"}


@click.command("inspect")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--fingerprint", is_flag=True, help="Add the digest of the tensors; reads all weights.")
@json_option
def command(bundle: Path, fingerprint: bool, as_json: bool) -> None:
    """Show members, tensors, run contract, provenance and signers of BUNDLE, or of the bundles in a folder.

    Checks its structure, not its signers. --verbose adds digests.
    """
    from lftool.ops.bundles.folders import bundles_of
    from lftool.ops.bundles.inspect import inspect_bundle

    found = [inspect_bundle(path) for path in bundles_of([bundle])]
    prints = [_fingerprint(one.path) if fingerprint else None for one in found]
    if as_json:
        plain = [_as_json(one, print_) for one, print_ in zip(found, prints, strict=True)]
        print_json({"bundles": plain} if bundle.is_dir() else plain[0])
        return
    for one, print_ in zip(found, prints, strict=True):
        _show(one, print_)


def _fingerprint(path: Path) -> str:
    from lftool.ops.fingerprint import fingerprint
    from lftool.ops.models.tensor_set import FORM
    from lftool.ops.project import open_ports
    from lftool.pipeline.parallel import apart

    ports = open_ports(None, third_party=False)
    return f"{FORM}:{apart(lambda: fingerprint(str(path), ports), ports).sha256}"


def _as_json(found: Inspection, fingerprint: str | None) -> dict[str, Any]:
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
        **({} if fingerprint is None else {"fingerprint": fingerprint}),
        "template": None
        if found.template is None
        else {
            "sha256": found.template.sha256.hex,
            "from_source": found.template.from_source,
            "lints": list(found.template.lints),
        },
        "provenance": found.provenance,
        "key_ids": list(found.key_ids),
    }


def _show(found: Inspection, fingerprint: str | None) -> None:
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
    if fingerprint is not None:
        say(f"             {fingerprint}")
    if found.template is not None:
        origin = _ORIGINS[found.template.from_source]
        say(f"  template   {origin}, sha256 {found.template.sha256.hex[:16]}…")
        for text in found.template.lints:
            say("             ", (text, "caution"))
    say("  run        " + ("; ".join(_contract(found)) or "no contract"))
    digest = f"  sha256 {manifest.prefix.sha256.hex[:16]}…" if verbosity() > 0 else ""
    say(f"  prefix     {manifest.prefix.role:<12} {size_text(manifest.prefix.size):>10}{digest}")
    for member in manifest.members:
        say(
            f"  member     {member.role:<12} {size_text(member.size):>10}  {member.path} at {found.offsets[member.path]}"
        )
    dependencies = found.provenance["buildDefinition"]["resolvedDependencies"]
    if verbosity() > 0:
        for dependency in dependencies:
            say(f"  made from  {dependency['name']}  sha256 {dependency['digest']['sha256'][:16]}…")
    else:
        for line in _made_from(str(dependency["name"]) for dependency in dependencies):
            say(f"  made from  {line}")


def _made_from(names: Iterable[str]) -> list[str]:
    """Return what a bundle was made from, a line per source, then the rest."""
    sources: dict[str, list[str]] = {}
    others = []
    for name in names:
        kind, _, rest = name.partition(":")
        source, slash, path = rest.partition("/")
        if kind == "source" and slash:
            sources.setdefault(source, []).append(path)
        elif kind in {"tool", "runtime"}:
            others.append(f"{kind} {rest.replace('#', ' for ')}")
        elif not name.startswith("lftool/"):
            others.append(name)
    lines = [
        f"source {name}: {paths[0] if len(paths) == 1 else counted(len(paths), 'file')}"
        for name, paths in sources.items()
    ]
    return lines + others


def _contract(found: Inspection) -> list[str]:
    from lftool.codec.converter import to_plain

    return [
        f"{key} {shortened(value)!r}" if key in {"system", "grammar", "json_schema"} else f"{key} {value}"
        for key, value in to_plain(found.manifest.run).items()
    ]
