"""`[[checks]]`: what must hold of the bundles, and never part of what is built.

Perplexity is measured when a bundle is built, and again by `lftool check`; other kinds ask the bundle itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from attrs.validators import min_len

PERPLEXITY = "perplexity"


@frozen(kw_only=True)
class CheckSpec:
    """One check. Which other keys it has depends on its kind, and a plugin may bring more kinds."""

    kind: str = field(validator=min_len(1), metadata={"doc": "What is checked: `perplexity`, `prompt`, …"})
    name: str | None = field(default=None, metadata={"doc": "What reports call it; default: its kind and number."})
    targets: tuple[str, ...] = field(
        default=(), metadata={"doc": "Targets that are checked; all that can be if empty."}
    )
    options: Mapping[str, Any] = field(
        factory=dict, metadata={"options": True, "rest": True, "doc": "All other keys: those of its kind."}
    )
