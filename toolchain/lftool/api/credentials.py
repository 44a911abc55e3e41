"""The user's credentials for plugins, bound to hosts. A recipe or a lock never chooses what is sent, or to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen


@frozen(kw_only=True)
class Credential:
    """What may be sent to one host; empty if the user named nothing for it.

    Attributes:
        headers: Header name to value, for requests to that host only.
        query: Query string, without the `?`; None for none.
        aws_profile: Profile of the shared AWS credentials file that may sign requests to that host; None for none.
    """

    headers: Mapping[str, str] = field(factory=dict, repr=False)
    query: str | None = field(default=None, repr=False)
    aws_profile: str | None = None


class Credentials(Protocol):
    """The user's credentials, by host."""

    def named(self, url: str) -> Credential | None:
        """Return what the user's `credentials.toml` names for the host of a URL; None if it does not name that host.

        Raises:
            UnavailableError: A variable, file or command that it names yields nothing.
            UsageError: The file is invalid.
        """

    def for_url(self, url: str) -> Credential:
        """Return what may be sent to the host of a URL: from `named`, else from the user's netrc, else nothing.

        Raises:
            UnavailableError: A variable, file or command that it names yields nothing.
            UsageError: The file is invalid.
        """


class Anonymous:
    """No credentials for any host."""

    def named(self, url: str) -> None:
        """Return None."""
        del url

    def for_url(self, url: str) -> Credential:
        """Return an empty credential."""
        del url
        return Credential()
