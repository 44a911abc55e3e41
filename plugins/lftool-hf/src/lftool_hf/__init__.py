"""lftool plugin: repositories of the Hugging Face Hub.

huggingface_hub is imported when a source is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import DestinationType, SourceType, hookimpl, lazily

if TYPE_CHECKING:
    from collections.abc import Iterator

LFTOOL_API = (2, 1)


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Models and datasets of the Hub."""
    yield SourceType(
        name="hf",
        summary="a model or dataset of the Hugging Face Hub",
        schemes=("hf",),
        ranges=True,
        factory=lazily("lftool_hf.source:HuggingFaceSource"),
    )


@hookimpl
def lftool_destinations() -> Iterator[DestinationType]:
    """Repositories of the Hub."""
    yield DestinationType(
        name="hf",
        summary="a model's repository on the Hugging Face Hub",
        schemes=("hf",),
        options=lazily("lftool_hf.destination:PushOptions"),
        factory=lazily("lftool_hf.destination:HubDestination"),
    )
