"""lftool plugin: repositories of the Hugging Face Hub.

huggingface_hub is imported when a source is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import SourceType, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import Source, SourceContext

LFTOOL_API = (2, 0)


def _source(context: SourceContext) -> Source:
    from lftool_hf.source import HuggingFaceSource  # noqa: PLC0415 - imported when used

    return HuggingFaceSource(context)


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Models and datasets of the Hub."""
    yield SourceType(
        name="hf",
        summary="a model or dataset of the Hugging Face Hub",
        schemes=("hf",),
        ranges=True,
        factory=_source,
    )
