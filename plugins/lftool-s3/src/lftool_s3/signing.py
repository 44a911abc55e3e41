"""Who signs requests to an object store: the user's keys, for the provider's own hosts and for those that the user names.

obstore looks for keys in the environment, and mixes what it finds there with keys that it is given (docs/reference/
configuration.md has what was seen). A recipe may name an endpoint; so keys are handed over one by one, through a provider
that replaces the environment, or the request is anonymous.
"""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lftool.api import RecipeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lftool.api import Credentials
    from lftool_s3.options import Options

_KEYS = {
    "access_key_id": ("AWS_ACCESS_KEY_ID", "aws_access_key_id"),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key"),
    "token": ("AWS_SESSION_TOKEN", "aws_session_token"),
}
# Hosts of S3 itself. Others below amazonaws.com, such as load balancers, are run by anybody.
_S3 = re.compile(r"s3(?:\.dualstack)?(?:[.-][a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?\Z")
_REGION = re.compile(r"[a-z0-9-]{1,64}\Z")
_ANONYMOUS: dict[str, Any] = {"skip_signature": True}


def user_endpoint(scheme: str) -> str | None:
    """Return the endpoint that the user's environment names for a scheme."""
    names = {
        "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
        "gs": ("GOOGLE_BASE_URL",),
    }[scheme]
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def region_of(options: Options) -> str | None:
    """Return the region: the recipe's, else the environment's.

    Raises:
        RecipeError: It is no name of a region; it becomes part of a host's name.
    """
    region = options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is not None and not _REGION.match(region):
        raise RecipeError(f"options.region: {region!r} is not a region name")
    return region


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port


def _is_users(endpoint: str | None, scheme: str) -> bool:
    """Tell whether an endpoint is the provider's own, or the one that the user's environment names."""
    if endpoint is None:
        return True
    own = user_endpoint(scheme)
    if own is not None and _origin(own) == _origin(endpoint):
        return True
    kind, host, port = _origin(endpoint)
    return scheme == "s3" and kind == "https" and port in {None, 443} and _S3.match(host) is not None


def profile_keys(name: str) -> dict[str, str]:
    """Return the keys of a profile in the shared credentials file (`AWS_SHARED_CREDENTIALS_FILE`).

    Raises:
        UnavailableError: There is no such profile, or it has no keys.
    """
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")
    found = configparser.RawConfigParser()
    try:
        found.read(path)
    except (configparser.Error, UnicodeDecodeError):  # its text may hold a key
        raise UnavailableError(f"{path} cannot be read as a credentials file") from None
    if name not in found:
        raise UnavailableError(f"there is no profile {name!r} in {path}", hints=("add it with `aws configure`",))
    keys = {ours: found[name][theirs] for ours, (_, theirs) in _KEYS.items() if theirs in found[name]}
    if not {"access_key_id", "secret_access_key"} <= keys.keys():
        raise UnavailableError(f"the profile {name!r} in {path} has no access key")
    return keys


def _environment_keys() -> dict[str, str] | None:
    keys = {ours: os.environ[name] for ours, (name, _) in _KEYS.items() if os.environ.get(name)}
    return keys if {"access_key_id", "secret_access_key"} <= keys.keys() else None


def _given(keys: Mapping[str, str]) -> dict[str, Any]:
    """Return what makes obstore sign with these keys and nothing else."""
    return {"credential_provider": lambda: {**keys, "expires_at": None}}


def s3_signing(endpoint: str | None, options: Options, credentials: Credentials) -> dict[str, Any]:
    """Return the arguments of an `S3Store` that say who signs.

    Args:
        endpoint: Where requests go; None for AWS.
        options: The recipe's.
        credentials: The user's, by host.

    Raises:
        UnavailableError: A profile that the user names does not exist.
    """
    if options.anonymous:
        return _ANONYMOUS
    named = None if endpoint is None else credentials.named(endpoint)
    if named is not None and named.aws_profile is not None:
        return _given(profile_keys(named.aws_profile))
    if not _is_users(options.endpoint, "s3"):
        return _ANONYMOUS
    if profile := os.environ.get("AWS_PROFILE"):
        return _given(profile_keys(profile))
    if keys := _environment_keys():
        return _given(keys)
    return {}  # the provider's own chain: roles of this machine, AWS_SKIP_SIGNATURE


def other_signing(scheme: str, options: Options) -> dict[str, Any]:
    """Return the arguments of a `GCSStore` or `AzureStore` that say who signs."""
    return _ANONYMOUS if options.anonymous or not _is_users(options.endpoint, scheme) else {}
