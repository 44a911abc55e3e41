"""lftool plugin: run bundles on the GPUs of Macs through Metal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import BackendType, hookimpl, lazily
from lftool_llamacpp.applied import APPLIED

if TYPE_CHECKING:
    from collections.abc import Iterator

LFTOOL_API = (2, 0)


@hookimpl
def lftool_backends() -> Iterator[BackendType]:
    """GPUs of Macs."""
    yield BackendType(
        name="metal",
        summary="GPUs of Macs, through llama-cpp-python built with Metal",
        engine="llama-cpp-python",
        module="llama_cpp",
        loads=True,
        preference=10,
        applies=APPLIED,
        factory=lazily("lftool_metal.backend:MetalBackend"),
    )
