"""What the signatures and documents in a bundle state, accepted only in the format's one encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftool.codec.canonical import parse_canonical_json
from lftool.errors import FormatError
from lftool.models.manifest import PROVENANCE_PATH, SBOM_PATH
from lftool.trust.envelope import decode_envelope

if TYPE_CHECKING:
    from lftool.bundle.reader import Bundle


def signer_hints(bundle: Bundle) -> tuple[str, ...]:
    """Return the key ids that the signatures claim; they are unproven.

    Raises:
        FormatError: A signature member is not in the one accepted encoding.
    """
    return tuple(decode_envelope(data, f"{bundle.name}: signature member").key_id for data in bundle.signatures)


def provenance(bundle: Bundle) -> Any:  # noqa: ANN401 - a SLSA predicate
    """Return the provenance predicate.

    Raises:
        FormatError: It is not canonical JSON, or does not state what the bundle was made from.
    """
    what = f"{bundle.name}: {PROVENANCE_PATH}"
    value = parse_canonical_json(bundle.read_member(PROVENANCE_PATH), what)
    try:
        for item in value["buildDefinition"]["resolvedDependencies"]:
            _ = str(item["name"]), str(item["digest"]["sha256"])
    except (KeyError, TypeError):
        raise FormatError(f"{what}: it does not say what the bundle was made from") from None
    return value


def runtime_name(bundle: Bundle) -> str | None:
    """Return the name and number of the runtime in the provenance; None if there is none.

    Raises:
        FormatError: The provenance cannot be read.
    """
    names = [str(item["name"]) for item in provenance(bundle)["buildDefinition"]["resolvedDependencies"]]
    return next((name.removeprefix("runtime:") for name in names if name.startswith("runtime:")), None)


def check_documents(bundle: Bundle) -> None:
    """Raise FormatError unless signatures, slices, provenance and bill of materials are valid, and agree."""
    from lftool.ops.bundles.slices import check_slices  # noqa: PLC0415 - parses TOML, which `inspect` does not need

    signer_hints(bundle)
    check_slices(bundle, provenance(bundle))
    parse_canonical_json(bundle.read_member(SBOM_PATH), f"{bundle.name}: {SBOM_PATH}")
