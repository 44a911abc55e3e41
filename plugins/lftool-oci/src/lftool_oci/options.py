"""What a recipe may say about a registry."""

from __future__ import annotations

from attrs import field, frozen


@frozen(kw_only=True)
class Options:
    """`options` of an `oci:` source."""

    platform: str | None = field(
        default=None,
        metadata={"doc": "Which manifest of an index: `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`."},
    )
