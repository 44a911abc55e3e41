"""The user's credentials file: TOML to value."""

from __future__ import annotations

from lftool.codec.toml_in import parse_toml, structure
from lftool.errors import UsageError
from lftool.models.credentials_file import CredentialsFile


def parse_credentials(data: bytes, what: str) -> CredentialsFile:
    """Return the credentials that `data` names.

    Raises:
        UsageError: Not TOML, an unknown key, a secret that is written out; the message does not repeat it.
    """
    return structure(parse_toml(data, what, UsageError), CredentialsFile, what, UsageError)
