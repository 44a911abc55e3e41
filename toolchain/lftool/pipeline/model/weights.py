"""Weights in the store: read their header, check that they suit a role, and read their model card."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lftool.bundle.model_card import ModelCard, model_card
from lftool.codec.canonical import canonical_json
from lftool.errors import RecipeError
from lftool.formats.gguf_read import MendableError, read_gguf
from lftool.pipeline.identity import card_key
from lftool.pipeline.model.headers import header_of
from lftool.pipeline.model.parts import GGUF_TYPES, MMPROJ, WEIGHTS

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.api.gguf import GGUFHeader
    from lftool.models.digest import Artifact
    from lftool.pipeline.model.parts import Part
    from lftool.pipeline.ports import Ports


def weights_file(artifact: Artifact, what: str, ports: Ports) -> Path:
    """Return a file that begins with the header of weights in the store.

    For weights that were converted and quantised in one pass, only the header is there.

    Raises:
        StorageError: They are missing.
    """
    header = None if ports.store.blobs.holds(artifact) else header_of(artifact, ports)
    return header or ports.store.blobs.require(artifact, what)


def weights_header(artifact: Artifact, what: str, ports: Ports) -> GGUFHeader:
    """Return the header of weights in the store.

    Raises:
        FormatError: They are not a valid GGUF.
        StorageError: They are missing.
    """
    with weights_file(artifact, what, ports).open("rb") as file:
        try:
            return read_gguf(file, artifact.size, what)
        except MendableError as error:
            error.hints = ("write a sound copy: lftool gguf repair IN OUT",)
            raise


def check_part(part: Part, artifact: Artifact, ports: Ports) -> None:
    """Raise unless the weights, or a companion, are a valid GGUF of the right kind.

    Raises:
        FormatError: It is not a valid GGUF.
        RecipeError: It is of another kind: a model, an importance matrix, …
    """
    role, source = part.role, part.source
    header = weights_header(artifact, f"source {source!r}", ports)
    kind, expected = header.metadata.get("general.type"), GGUF_TYPES[role]
    # Projectors from older llama.cpp scripts, and older models, have no `general.type`.
    untyped = role == WEIGHTS or (role == MMPROJ and _architecture(header) == "clip")
    if kind != expected and not (kind is None and untyped):
        raise RecipeError(
            f"model.{role}: the GGUF of source {source!r} has general.type {kind!r}, expected {expected!r}"
        )


def _architecture(header: GGUFHeader) -> object:
    return header.metadata.get("general.architecture")


def remembered_card(artifact: Artifact, ports: Ports) -> ModelCard:
    """Return the model card of weights in the store, remembered, since reading past large vocabularies takes a while.

    Raises:
        FormatError: They are not a valid GGUF.
    """

    def make() -> bytes:
        card = model_card(weights_header(artifact, "the weights", ports))
        return canonical_json({"facts": dict(card.facts), "bases": [dict(base) for base in card.bases]})

    plain = json.loads(ports.store.remembered_bytes(card_key(artifact), "card", make))
    return ModelCard(facts=plain["facts"], bases=tuple(plain["bases"]))
