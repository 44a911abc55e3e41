"""Open the object store that a URI and options mean."""

from __future__ import annotations

import configparser
import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import frozen

from lftool.api import stall_seconds
from lftool.errors import RecipeError, UnavailableError

if TYPE_CHECKING:
    from lftool_s3.options import Options

_KEYS = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key"}


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
    if not parts.netloc or parts.fragment:
        raise RecipeError(f"source {uri!r}: write {parts.scheme}://BUCKET/KEY, or a / at the end for all below it")
    return Place(scheme=parts.scheme, bucket=parts.netloc, key=parts.path.removeprefix("/"))


def _profile(name: str) -> dict[str, str]:
    """Return the keys of a profile in the shared credentials file (`AWS_SHARED_CREDENTIALS_FILE`).

    Raises:
        UnavailableError: There is no such profile.
    """
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")
    found = configparser.RawConfigParser()
    found.read(path)
    if name not in found:
        raise UnavailableError(f"there is no profile {name!r} in {path}", hints=("add it with `aws configure`",))
    section = found[name]
    keys = {ours: section[theirs] for theirs, ours in _KEYS.items() if theirs in section}
    if "aws_session_token" in section:
        keys["session_token"] = section["aws_session_token"]
    return keys


def open_store(place: Place, options: Options) -> Any:  # noqa: ANN401 - obstore is imported when it is used
    """Return the obstore store of a bucket.

    Our engine waits and tries again, so the store does not; a connection that falls silent is an error.

    Raises:
        UnavailableError: The profile does not exist.
    """
    from obstore.store import AzureStore, GCSStore, S3Store

    endpoint = options.endpoint or (os.environ.get("AWS_ENDPOINT_URL") if place.scheme == "s3" else None)
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
    anonymous: dict[str, Any] = {"skip_signature": True} if options.anonymous else {}  # else AWS_SKIP_SIGNATURE decides
    if place.scheme == "gs":
        return GCSStore(place.bucket, **anonymous, **shared)
    if place.scheme == "az":
        extra: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
        return AzureStore(place.bucket, **anonymous, **extra, **shared)
    config = dict(anonymous)
    if endpoint:
        config["endpoint"] = endpoint
    region = options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        config["region"] = region
    profile = options.profile or os.environ.get("AWS_PROFILE")
    if profile and not options.anonymous:
        config |= _profile(profile)
    return S3Store(place.bucket, **config, **shared)
