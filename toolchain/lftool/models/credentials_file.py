"""The user's `credentials.toml`: what is sent to which host, and to no other (docs/reference/configuration.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import optional

if TYPE_CHECKING:
    from attrs import Attribute

_SECRET = re.compile(r"(?:env|file|command):.+\Z", re.DOTALL)
_HOST = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>(?:\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?\Z"
)
_PORTS = {"https": 443, "http": 80}


def _secret(_instance: object, _attribute: Attribute[Any], value: str) -> None:
    if not _SECRET.match(value):  # the value may be the secret itself: it must not appear in the message
        raise ValueError("a secret is named as env:NAME, file:PATH or command:PROGRAM ARGUMENTS, never written here")


def _secrets(instance: object, attribute: Attribute[Any], value: Mapping[str, str]) -> None:
    for secret in value.values():
        _secret(instance, attribute, secret)


@frozen(kw_only=True)
class HostPattern:
    """Which hosts a credential is for: scheme, host and port; `*.` before a name means any host below it."""

    scheme: str
    host: str
    port: int

    def matches(self, scheme: str, host: str, port: int) -> bool:
        """Tell whether a server matches."""
        if (scheme, port) != (self.scheme, self.port):
            return False
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host


def parse_host(text: str) -> HostPattern:
    """Return the pattern of `[scheme://]host[:port]`; by default https, and the scheme's port.

    Raises:
        ValueError: The text is not such a pattern.
    """
    match = _HOST.match(text)
    if match is None:
        raise ValueError(f"{text!r} names no host; write HOST, *.HOST, HOST:PORT or http://HOST:PORT")
    scheme = match["scheme"] or "https"
    port = int(match["port"]) if match["port"] else _PORTS[scheme]
    return HostPattern(scheme=scheme, host=match["host"].strip("[]").lower(), port=port)


@frozen(kw_only=True)
class HostCredential:
    """`[hosts."HOST"]`: what is sent to it. Secrets are `env:NAME`, `file:PATH` or `command:PROGRAM ARGUMENTS`."""

    token: str | None = field(
        default=None, validator=optional(_secret), metadata={"doc": "Sent as `Authorization: Bearer`."}
    )
    header: Mapping[str, str] = field(
        factory=dict, validator=_secrets, metadata={"doc": "Maps header names to the secrets that are their values."}
    )
    query: str | None = field(
        default=None,
        validator=optional(_secret),
        metadata={"doc": "Query string, as in pre-signed URLs; sent with the first request, not after redirects."},
    )
    aws_profile: str | None = field(
        default=None,
        metadata={
            "key": "aws-profile",
            "doc": "Profile of the shared AWS credentials file that signs requests to this S3 endpoint.",
        },
    )


def _hosts(_instance: object, _attribute: Attribute[Any], value: Mapping[str, HostCredential]) -> None:
    for text in value:
        parse_host(text)


@frozen(kw_only=True)
class CredentialsFile:
    """The whole file."""

    hosts: Mapping[str, HostCredential] = field(
        factory=dict, validator=_hosts, metadata={"doc": "Host to what is sent to that host."}
    )
