"""Parse the user's configuration from TOML."""

from __future__ import annotations

from lftool.codec.toml_in import parse_toml, structure
from lftool.errors import UsageError
from lftool.models.configuration import Configuration


def parse_configuration(data: bytes, what: str) -> Configuration:
    """Return the configuration in `data`.

    Raises:
        UsageError: Not TOML, an unknown key, a wrong type.
    """
    return structure(parse_toml(data, what, UsageError), Configuration, what, UsageError)
