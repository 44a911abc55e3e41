"""Read the user's configuration, or use the defaults."""

from __future__ import annotations

from lftool.codec.configurations import parse_configuration
from lftool.codec.toml_in import read_bytes
from lftool.errors import UsageError
from lftool.models.configuration import Configuration
from lftool.store.places import user_configuration


def read_configuration() -> Configuration:
    """Return the user's configuration.

    Raises:
        UsageError: The file cannot be read, or is invalid.
    """
    path = user_configuration()
    if not path.exists():
        return Configuration()
    return parse_configuration(read_bytes(path, path.name, UsageError), path.name)
