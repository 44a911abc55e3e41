"""Example plugin of lftool: the source `mem:` and the quantizer `round`.

This module is imported whenever lftool looks for plugins, so it only says what there is; the work is in the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import QuantizerType, SourceType, hookimpl
from lftool_example.memory import MemoryOptions, MemorySource
from lftool_example.rounding import FILE_TYPE, Rounder, RoundOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

# The version of lftool.api that this plugin is written for. lftool refuses a plugin that is newer than itself.
LFTOOL_API = (2, 0)


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Models that the plugin makes."""
    yield SourceType(
        name="mem",
        summary="a small model made in memory",
        schemes=("mem",),
        options=MemoryOptions,
        factory=MemorySource,
    )


@hookimpl
def lftool_quantizers() -> Iterator[QuantizerType]:
    """Rounding of mantissas."""
    yield QuantizerType(
        name="round",
        summary="F16 weights with the low bits of each mantissa cleared",
        consumes=("gguf",),
        produces=(FILE_TYPE,),
        # The name of the arithmetic. Whoever changes a bit of the output gives it a new number.
        semantics="round/1",
        options=RoundOptions,
        factory=Rounder,
    )
