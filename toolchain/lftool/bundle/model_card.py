"""A model's card, read from its GGUF keys: name, licence and base models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.codec.canonical import canonical_json

if TYPE_CHECKING:
    from lftool.api.gguf import GGUFHeader

_MOST_BASES = 64
_MOST_CHARACTERS = 256
# Limit for the whole card as canonical JSON: every signature contains it, next to up to 64 files, and has a size limit.
_MOST_BYTES = 8192


@frozen(kw_only=True)
class ModelCard:
    """Facts of a model card, as llama.cpp's conversion writes them to `general.*`; missing ones are left out.

    Attributes:
        facts: Those of `name`, `organization`, `license` and `repo_url` that are present.
        bases: The same for each base model, in the order of the card.
    """

    facts: Mapping[str, str]
    bases: tuple[Mapping[str, str], ...] = ()

    def plain(self) -> dict[str, object]:
        """Return it as plain data; empty when nothing is known."""
        bases = {"baseModels": [dict(base) for base in self.bases]} if self.bases else {}
        return {**self.facts, **bases}


def _facts(header: GGUFHeader, prefix: str, names: tuple[str, ...]) -> dict[str, str]:
    found = {name: header.metadata.get(f"{prefix}.{name}") for name in names}
    return {name: value[:_MOST_CHARACTERS] for name, value in found.items() if isinstance(value, str) and value}


def model_card(header: GGUFHeader) -> ModelCard:
    """Return the model card in the metadata of a GGUF (gguf-py, constants.py, `Keys.General`).

    Cuts texts at 256 characters, and drops the last base models if the card would become too long.
    """
    count = header.metadata.get("general.base_model.count")
    indices = range(min(count, _MOST_BASES)) if type(count) is int else range(0)
    names = ("name", "organization", "version", "repo_url")
    bases = [_facts(header, f"general.base_model.{index}", names) for index in indices]
    facts = _facts(header, "general", ("name", "organization", "license", "repo_url"))
    card = ModelCard(facts=facts, bases=tuple(base for base in bases if base))
    while card.bases and len(canonical_json(card.plain())) > _MOST_BYTES:
        card = ModelCard(facts=facts, bases=card.bases[:-1])
    return card
