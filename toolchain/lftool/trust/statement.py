"""The signed statement: in-toto v1, SLSA provenance v1, with the bundle's M and sha256(U) as subjects.

The predicate is the one embedded in the bundle; the bundle cannot hold the subjects, since U cannot name itself.
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


@frozen(kw_only=True)
class Statement:
    """What is said, about which bytes."""

    bundle: str
    manifest: Digest
    unsigned: Digest
    predicate: Any


def encode_statement(statement: Statement) -> bytes:
    """Return the canonical payload."""
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "predicateType": PREDICATE_TYPE,
            "subject": [
                {"name": MANIFEST_PATH, "digest": {"sha256": statement.manifest.hex}},
                {"name": statement.bundle, "digest": {"sha256": statement.unsigned.hex}},
            ],
            "predicate": statement.predicate,
        }
    )


def decode_statement(payload: bytes, what: str) -> Statement:
    """Return what a payload says.

    Raises:
        FormatError: Another statement or predicate type, other subjects, or not our encoding.
    """
    value: Any = parse_canonical_json(payload, what)
    try:
        statement = Statement(
            bundle=value["subject"][1]["name"],
            manifest=Digest(value["subject"][0]["digest"]["sha256"]),
            unsigned=Digest(value["subject"][1]["digest"]["sha256"]),
            predicate=value["predicate"],
        )
        canonical = encode_statement(statement)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise FormatError(f"{what}: not a provenance statement about a bundle") from None
    if canonical != payload:
        raise FormatError(f"{what}: not the one accepted encoding of a provenance statement")
    return statement
