"""lftool plugin: models in OCI registries.

It speaks the few calls of the distribution API itself, through the HTTP client of lftool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import DestinationType, SourceType, hookimpl, lazily

if TYPE_CHECKING:
    from collections.abc import Iterator

LFTOOL_API = (2, 1)


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Models in OCI registries."""
    yield SourceType(
        name="oci",
        summary="a model in an OCI registry",
        schemes=("oci",),
        ranges=True,
        options=lazily("lftool_oci.options:Options"),
        factory=lazily("lftool_oci.source:RegistrySource"),
    )


@hookimpl
def lftool_destinations() -> Iterator[DestinationType]:
    """Repositories in OCI registries."""
    yield DestinationType(
        name="oci",
        summary="a repository in an OCI registry, as ModelPack artifacts",
        schemes=("oci",),
        form="detached",
        options=lazily("lftool_oci.options:PushOptions"),
        factory=lazily("lftool_oci.destination:RegistryDestination"),
    )
