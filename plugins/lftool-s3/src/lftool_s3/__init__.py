"""lftool plugin: objects in S3, Google Cloud Storage and Azure Blob Storage.

obstore is imported when a source is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import RemoteStoreType, SourceType, hookimpl
from lftool_s3.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import RemoteStore, RemoteStoreContext, Source, SourceContext

LFTOOL_API = (2, 0)


def _source(context: SourceContext) -> Source:
    from lftool_s3.source import ObjectSource  # noqa: PLC0415 - imported when used

    return ObjectSource(context)


def _remote_store(context: RemoteStoreContext) -> RemoteStore:
    from lftool_s3.remote_store import BucketStore  # noqa: PLC0415 - imported when used

    return BucketStore(context)


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


@hookimpl
def lftool_remote_stores() -> Iterator[RemoteStoreType]:
    """Remote stores in buckets."""
    yield RemoteStoreType(
        name="s3",
        summary="a bucket in S3, Google Cloud Storage or Azure",
        schemes=("az", "gs", "s3"),
        factory=_remote_store,
    )
