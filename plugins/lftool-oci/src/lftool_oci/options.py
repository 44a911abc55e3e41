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
    target: str | None = field(
        default=None, metadata={"doc": "Which manifest of an index that `lftool push` made: the bundle's target."}
    )


@frozen(kw_only=True)
class PushOptions:
    """Options of `lftool push oci://…`."""

    docker: bool = field(
        default=False,
        metadata={"doc": "Also push a manifest for Docker Model Runner for each bundle, as TAG-docker."},
    )
    mount: str | None = field(
        default=None,
        metadata={"doc": "Take blobs from this repository of the same registry.", "metavar": "REPOSITORY"},
    )
    chunk: int | None = field(
        default=None,
        metadata={
            "doc": "Send large files in chunks of this many MiB; 0 sends each at once; default: 64, except to registries that do not take chunks.",
            "metavar": "MIB",
        },
    )
