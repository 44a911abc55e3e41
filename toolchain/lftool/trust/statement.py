"""Signed statements: in-toto v1 with the bundle's M and sha256(U) as subjects.

Their predicates are SLSA provenance v1, measured quality, or what came of a rebuild.

The bundle embeds the provenance predicate; it cannot hold the subjects, since U cannot contain its own digest. A bundle
never contains measurements.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from lftool.codec.canonical import canonical_json, parse_canonical_json
from lftool.errors import FormatError
from lftool.models.digest import Digest
from lftool.models.manifest import MANIFEST_PATH

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
QUALITY_TYPE = "urn:lftool:predicates:quality:v1"  # docs/reference/quality.md

REBUILD_TYPE = "urn:lftool:predicates:rebuild:v1"  # docs/reference/rebuild-and-proof.md

_KINDS = {
    PREDICATE_TYPE: "a provenance statement",
    QUALITY_TYPE: "a statement of quality",
    REBUILD_TYPE: "a statement of a rebuild",
}


@frozen(kw_only=True)
class Statement:
    """A predicate, and the bytes that it is about."""

    bundle: str
    manifest: Digest
    unsigned: Digest
    predicate: Any
    predicate_type: str = PREDICATE_TYPE


def encode_statement(statement: Statement) -> bytes:
    """Return the canonical payload."""
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "predicateType": statement.predicate_type,
            "subject": [
                {"name": MANIFEST_PATH, "digest": {"sha256": statement.manifest.hex}},
                {"name": statement.bundle, "digest": {"sha256": statement.unsigned.hex}},
            ],
            "predicate": statement.predicate,
        }
    )


def decode_statement(payload: bytes, what: str, predicate_type: str = PREDICATE_TYPE) -> Statement:
    """Return the statement in a payload.

    Args:
        payload: The signed bytes.
        what: Name of the statement, for messages.
        predicate_type: The required predicate type.

    Raises:
        FormatError: Another statement or predicate type, other subjects, or not the one accepted encoding.
    """
    kind = _KINDS[predicate_type]
    value: Any = parse_canonical_json(payload, what)
    try:
        statement = Statement(
            bundle=value["subject"][1]["name"],
            manifest=Digest(value["subject"][0]["digest"]["sha256"]),
            unsigned=Digest(value["subject"][1]["digest"]["sha256"]),
            predicate=value["predicate"],
            predicate_type=predicate_type,
        )
        canonical = encode_statement(statement)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise FormatError(f"{what}: not {kind} about a bundle") from None
    if canonical != payload:
        raise FormatError(f"{what}: not the one accepted encoding of {kind}")
    return statement
