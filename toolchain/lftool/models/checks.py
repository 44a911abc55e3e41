"""`[[checks]]`: what must hold for the bundles. Never part of what is built.

Perplexity is measured when a bundle is built, and again by `lftool check`. Other kinds query the finished bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from attrs.validators import min_len

PERPLEXITY = "perplexity"


@frozen(kw_only=True)
class CheckSpec:
    """One check. Its other keys depend on its kind. Plugins can add kinds."""

    kind: str = field(validator=min_len(1), metadata={"doc": "What is checked: `perplexity`, `prompt`, …"})
    name: str | None = field(default=None, metadata={"doc": "Name in reports; default: its kind and number."})
    targets: tuple[str, ...] = field(
        default=(), metadata={"doc": "Targets to check; all that can be checked if empty."}
    )
    options: Mapping[str, Any] = field(
        factory=dict, metadata={"options": True, "rest": True, "doc": "All other keys: those of its kind."}
    )
