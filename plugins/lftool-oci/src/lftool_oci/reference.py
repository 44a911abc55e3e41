"""What an `oci://` URI names: registry, repository, and a tag or digest."""

from __future__ import annotations

import re

from attrs import frozen

from lftool.api import RecipeError

# The grammar of references: distribution-spec v1.1, "Pulling manifests"; names are lower case there.
_URI = re.compile(
    r"oci://(?P<registry>[A-Za-z0-9.-]+(?::[0-9]{1,5})?)/"
    r"(?P<repository>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?\Z",
    re.ASCII,
)

_MOST_PORT = 65535


@frozen(kw_only=True)
class Reference:
    """A manifest in a registry; `wanted` is its digest where the URI names one, else a tag."""

    registry: str
    repository: str
    wanted: str

    @property
    def base(self) -> str:
        """URL of the repository's API; plain HTTP for registries on this machine only."""
        host = self.registry.rpartition(":")[0] or self.registry
        scheme = "http" if host in {"localhost", "127.0.0.1"} else "https"
        return f"{scheme}://{self.registry}/v2/{self.repository}"


def parse_reference(uri: str, what: str = "source", *, tagged: bool = False) -> Reference:
    """Return what a URI names.

    Args:
        uri: The URI.
        what: What it is for, for messages.
        tagged: Whether it has to name a tag.

    Raises:
        RecipeError: It is not of the form `oci://REGISTRY/REPOSITORY[:TAG|@sha256:…]`.
    """
    match = _URI.match(uri)
    port = "" if match is None else match["registry"].partition(":")[2]
    if match is None or int(port or 0) > _MOST_PORT:
        lower = ("repository names are lower case",) if uri != uri.lower() else ()
        other = "" if tagged else ", or @sha256: and a manifest digest"
        raise RecipeError(f"{what} {uri!r}: expected oci://REGISTRY/REPOSITORY:TAG{other}", hints=lower)
    wanted = match["digest"] or match["tag"] or "latest"
    return Reference(registry=match["registry"], repository=match["repository"], wanted=wanted)
