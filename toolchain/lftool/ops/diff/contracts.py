"""Compare what bundles say besides their weights: run contract, licence, sources, runtime, signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.codec.locks import parse_lock
from lftool.codec.recipes import parse_recipe
from lftool.errors import FormatError, LftoolError
from lftool.models.manifest import ADAPTER_PATH, LOCK_PATH, PROJECTOR_PATH, RECIPE_PATH
from lftool.ops.bundles.claims import runtime_name, signer_hints

if TYPE_CHECKING:
    from lftool.bundle.reader import Bundle


@frozen(kw_only=True)
class FieldChange:
    """A field that differs; None where there is no value."""

    field: str
    values: tuple[Any, Any]


def _facts(bundle: Bundle) -> dict[str, Any]:
    from lftool.codec.converter import to_plain  # noqa: PLC0415 - only those who need it load it

    manifest = bundle.manifest
    found: dict[str, Any] = {
        "name": manifest.name,
        "version": manifest.version,
        "target": manifest.target,
        "layout": manifest.layout,
        "backend": manifest.backend,
        "runtime": runtime_name(bundle),
        "signatures": sorted(signer_hints(bundle)),
    }
    found |= {f"run.{key}": value for key, value in to_plain(manifest.run).items()}
    try:
        recipe = parse_recipe(bundle.read_member(RECIPE_PATH), RECIPE_PATH)
        lock = parse_lock(bundle.read_member(LOCK_PATH), LOCK_PATH)
    except LftoolError as error:
        raise FormatError(f"{bundle.name}: {error.message}") from None
    found["license"], found["description"] = recipe.bundle.license, recipe.bundle.description
    for member in manifest.members:
        if member.path in {ADAPTER_PATH, PROJECTOR_PATH}:
            found[member.role] = f"sha256 {member.sha256}"
    found["quantize"] = recipe.targets[manifest.target].quantize if manifest.target in recipe.targets else None
    for name, source in lock.sources.items():
        found[f"sources.{name}.uri"] = source.uri
        found[f"sources.{name}.revision"] = source.revision
    for semantics, tool in lock.tools.items():
        found |= {f"tools.{semantics}.{use}": print_.hex for use, print_ in tool.fingerprints.items()}
    return found


def diff_bundles(one: Bundle | None, other: Bundle | None) -> tuple[FieldChange, ...]:
    """Compare what two bundles say; nothing if one is no bundle.

    Raises:
        FormatError: A document in one of them is malformed.
    """
    if one is None or other is None:
        return ()
    ours, theirs = _facts(one), _facts(other)
    return tuple(
        FieldChange(field=key, values=(ours.get(key), theirs.get(key)))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    )
