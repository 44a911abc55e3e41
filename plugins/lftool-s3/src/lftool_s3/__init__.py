"""lftool plugin: objects in S3, Google Cloud Storage and Azure Blob Storage.

obstore is imported when a source is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import DestinationType, RemoteStoreType, SourceType, hookimpl, lazily

if TYPE_CHECKING:
    from collections.abc import Iterator

LFTOOL_API = (2, 1)


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Objects in S3, Google Cloud Storage and Azure Blob Storage."""
    yield SourceType(
        name="s3",
        summary="objects in S3, Google Cloud Storage or Azure",
        schemes=("az", "gs", "s3"),
        ranges=True,
        options=lazily("lftool_s3.options:Options"),
        factory=lazily("lftool_s3.source:ObjectSource"),
    )


@hookimpl
def lftool_remote_stores() -> Iterator[RemoteStoreType]:
    """Remote stores in buckets."""
    yield RemoteStoreType(
        name="s3",
        summary="a bucket in S3, Google Cloud Storage or Azure",
        schemes=("az", "gs", "s3"),
        factory=lazily("lftool_s3.remote_store:BucketStore"),
    )


@hookimpl
def lftool_destinations() -> Iterator[DestinationType]:
    """Prefixes of buckets."""
    yield DestinationType(
        name="s3",
        summary="a prefix in S3, Google Cloud Storage or Azure, with an index.json",
        schemes=("az", "gs", "s3"),
        factory=lazily("lftool_s3.destination:BucketDestination"),
    )
