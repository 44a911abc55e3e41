"""Trust policies: TOML to value."""

from __future__ import annotations

from lftool.codec.toml_in import parse_toml, structure
from lftool.errors import TrustError
from lftool.models.policy import TrustPolicy


def parse_policy(data: bytes, what: str) -> TrustPolicy:
    """Return the policy that `data` spells.

    Raises:
        TrustError: Not TOML, an unknown key, a wrong type, a missing value.
    """
    return structure(parse_toml(data, what, TrustError), TrustPolicy, what, TrustError)
