"""lftool plugin: objects in S3, Google Cloud Storage and Azure Blob Storage.

obstore is imported when a source is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import SourceType, hookimpl
from lftool_s3.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import Source, SourceContext

LFTOOL_API = (1, 0)


def _source(context: SourceContext) -> Source:
    from lftool_s3.source import ObjectSource  # noqa: PLC0415 - imported when used

    return ObjectSource(context)


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Objects in S3, Google Cloud Storage and Azure Blob Storage."""
    yield SourceType(
        name="s3",
        summary="objects in S3, Google Cloud Storage or Azure",
        schemes=("az", "gs", "s3"),
        ranges=True,
        options=Options,
        factory=_source,
    )
