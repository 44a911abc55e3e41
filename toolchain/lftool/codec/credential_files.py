"""Parse the user's credentials file from TOML."""

from __future__ import annotations

from lftool.codec.toml_in import parse_toml, structure
from lftool.errors import UsageError
from lftool.models.credentials_file import CredentialsFile


def parse_credentials(data: bytes, what: str) -> CredentialsFile:
    """Return the credentials in `data`.

    Raises:
        UsageError: Not TOML, an unknown key, or a secret in plain text; the message does not repeat it.
    """
    return structure(parse_toml(data, what, UsageError), CredentialsFile, what, UsageError)
