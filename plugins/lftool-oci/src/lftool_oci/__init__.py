"""lftool plugin: models in OCI registries.

It speaks the few calls of the distribution API itself, through the HTTP client of lftool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import SourceType, hookimpl
from lftool_oci.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import Source, SourceContext

LFTOOL_API = (2, 0)


def _source(context: SourceContext) -> Source:
    from lftool_oci.source import RegistrySource  # noqa: PLC0415 - imported when used

    return RegistrySource(context)


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Models in OCI registries."""
    yield SourceType(
        name="oci",
        summary="a model in an OCI registry",
        schemes=("oci",),
        ranges=True,
        options=Options,
        factory=_source,
    )
