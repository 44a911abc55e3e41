"""The fingerprint of a tool that a stage depends on: file type, importance matrix, and options that decide bits.

Locks contain it as a string: `Q4_K_M`, `Q4_K_M+imatrix`, `Q4_K_M+rounds=3`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import attrs
from attrs import field, frozen

from lftool.codec.canonical import canonical_json

_IMATRIX = "imatrix"


@frozen(kw_only=True)
class Use:
    """A parsed use.

    Attributes:
        produces: The file type.
        imatrix: Whether there is an importance matrix.
        options: Options that decide bits, in canonical form.
    """

    produces: str
    imatrix: bool = False
    options: Mapping[str, Any] = field(factory=dict)

    @property
    def name(self) -> str:
        """The file type, with `+imatrix` if there is one; the plugin makes a fixed input for it."""
        return f"{self.produces}+{_IMATRIX}" if self.imatrix else self.produces

    def __str__(self) -> str:
        options = [f"+{key}={quote(canonical_json(self.options[key]), safe='')}" for key in sorted(self.options)]
        return self.name + "".join(options)


def parse_use(text: str) -> Use:
    """Return the use in a lock. An option that cannot be parsed is dropped, so such a use has no fingerprint."""
    produces, *rest = text.split("+")
    options = {}
    for item in rest:
        key, equals, value = item.partition("=")
        if equals:
            try:
                options[key] = json.loads(unquote(value))
            except ValueError:
                continue
    return Use(produces=produces, imatrix=_IMATRIX in rest, options=options)


def deciding(options: Mapping[str, Any], cls: type | None) -> dict[str, Any]:
    """Return the options that decide bits beyond the plan: those declared so, and those without a default.

    Args:
        options: As written in the recipe, in canonical form.
        cls: The options class of the record; None if it has none.
    """
    if cls is None:
        return {}
    names = {
        item.metadata.get("key", item.name)
        for item in attrs.fields(cls)
        if item.metadata.get("bits") or item.default is attrs.NOTHING
    }
    return {name: options[name] for name in sorted(names & options.keys())}
