"""Open the object store that a URI and options mean."""

from __future__ import annotations

import datetime as dt
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import frozen

from lftool.api import RecipeError
from lftool.api.http import stall_seconds
from lftool_s3.signing import other_signing, region_of, s3_signing, user_endpoint

if TYPE_CHECKING:
    from lftool.api import Credentials
    from lftool_s3.options import Options

# Bucket and container names become parts of host names and paths.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}\Z")
_GOOGLE = "https://storage.googleapis.com"


@frozen(kw_only=True)
class Place:
    """A bucket and a key in it; a key that ends in `/`, or none, means all below."""

    scheme: str
    bucket: str
    key: str

    @property
    def is_prefix(self) -> bool:
        """Whether it means more than one object."""
        return not self.key or self.key.endswith("/")


def parse_place(uri: str) -> Place:
    """Return what a URI names.

    Raises:
        RecipeError: It names no bucket.
    """
    parts = urlsplit(uri)
    if not _BUCKET.match(parts.netloc) or parts.fragment:
        expected = f"{parts.scheme}://BUCKET/KEY, or {parts.scheme}://BUCKET/PREFIX/ for all below it"
        raise RecipeError(f"source {uri!r}: expected {expected}")
    return Place(scheme=parts.scheme, bucket=parts.netloc, key=parts.path.removeprefix("/"))


def open_store(place: Place, options: Options, credentials: Credentials) -> Any:  # noqa: ANN401 - obstore is imported when it is used
    """Return the obstore store of a bucket.

    Args:
        place: The bucket.
        options: The recipe's.
        credentials: The user's, by host.

    Our engine waits and tries again, so the store does not; a connection that falls silent is an error.

    Raises:
        UnavailableError: A profile that the user names does not exist.
        RecipeError: The region is none.
    """
    from obstore.store import AzureStore, GCSStore, S3Store

    endpoint = options.endpoint or user_endpoint(place.scheme)
    silence = dt.timedelta(seconds=stall_seconds())
    shared: dict[str, Any] = {
        "client_options": {
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "connect_timeout": silence,
            "read_timeout": silence,
            "timeout": dt.timedelta(days=7),
        },
        "retry_config": {"max_retries": 0, "retry_timeout": dt.timedelta(seconds=1)},
    }
    if place.scheme == "gs":
        # obstore takes a variable that is set and empty for an address, and panics.
        base = endpoint or (_GOOGLE if os.environ.get("GOOGLE_BASE_URL") == "" else None)
        named: dict[str, Any] = {"base_url": base} if base else {}
        return GCSStore(place.bucket, **other_signing("gs", options), **named, **shared)
    if place.scheme == "az":
        extra: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
        return AzureStore(place.bucket, **other_signing("az", options), **extra, **shared)
    config: dict[str, Any] = {}
    if endpoint:
        config["endpoint"] = endpoint
    region = region_of(options)
    if region:
        config["region"] = region
    return S3Store(place.bucket, **config, **s3_signing(endpoint, options, credentials), **shared)
