"""lftool plugin: run bundles on the processor with xllamacpp, a ready-made build of llama.cpp.

xllamacpp is imported in child processes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import BackendType, hookimpl, lazily
from lftool_llamacpp.applied import APPLIED

if TYPE_CHECKING:
    from collections.abc import Iterator

LFTOOL_API = (2, 0)


@hookimpl
def lftool_backends() -> Iterator[BackendType]:
    """The CPU, through xllamacpp."""
    yield BackendType(
        name="cpu",
        summary="xllamacpp on the CPU, bundles of layout gguf mapped in place",
        engine="xllamacpp",
        module="xllamacpp",
        loads=True,
        preference=1,
        applies=APPLIED,
        factory=lazily("lftool_xllamacpp.backend:XllamacppBackend"),
    )
