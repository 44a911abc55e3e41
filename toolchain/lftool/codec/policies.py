"""Parse trust policies from TOML."""

from __future__ import annotations

from lftool.codec.toml_in import parse_toml, structure
from lftool.errors import TrustError
from lftool.models.policy import TrustPolicy


def parse_policy(data: bytes, what: str) -> TrustPolicy:
    """Return the policy in `data`.

    Raises:
        TrustError: Not TOML, an unknown key, a wrong type, or a missing value.
    """
    return structure(parse_toml(data, what, TrustError), TrustPolicy, what, TrustError)
