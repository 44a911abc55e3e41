"""What an `hf://` URI names: repository, ref, and a path within."""

from __future__ import annotations

import re
from typing import Literal

from attrs import frozen

from lftool.api import RecipeError

RepositoryType = Literal["model", "dataset"]

_URI = re.compile(
    r"hf://(?P<kind>models/|datasets/)?(?P<owner>[A-Za-z0-9][\w.-]*)/(?P<name>[A-Za-z0-9][\w.-]*)"
    r"(?:@(?P<ref>[^/]+))?(?:/(?P<path>[^?#]+))?\Z",
    re.ASCII,
)


@frozen(kw_only=True)
class Address:
    """A place on the Hub. `ref` is a branch, a tag or a commit; slashes in it are written `%2F`."""

    kind: RepositoryType
    repository: str
    ref: str
    path: str

    def holds(self, path: str) -> bool:
        """Tell whether the URI means a file of the repository: all of them, one, or those of a folder."""
        return not self.path or path == self.path or path.startswith(f"{self.path}/")


def parse_address(uri: str) -> Address:
    """Return the place that a URI names.

    Raises:
        RecipeError: It is not of the form `hf://[datasets/]OWNER/NAME[@REF][/PATH]`.
    """
    match = _URI.match(uri)
    if match is None:
        raise RecipeError(
            f"source {uri!r}: expected hf://OWNER/NAME[@REF][/PATH] or hf://datasets/OWNER/NAME[@REF][/PATH]",
            hints=("a / within REF is written %2F",),
        )
    return Address(
        kind="dataset" if match["kind"] == "datasets/" else "model",
        repository=f"{match['owner']}/{match['name']}",
        ref=(match["ref"] or "main").replace("%2F", "/").replace("%2f", "/"),
        path=(match["path"] or "").strip("/"),
    )
