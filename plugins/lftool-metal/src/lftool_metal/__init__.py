"""lftool plugin: run bundles on the GPUs of Macs through Metal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import BackendType, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import Backend

LFTOOL_API = (2, 0)


def _backend() -> Backend:
    from lftool_metal.backend import MetalBackend  # noqa: PLC0415 - imported when used

    return MetalBackend()


@hookimpl
def lftool_backends() -> Iterator[BackendType]:
    """GPUs of Macs."""
    yield BackendType(
        name="metal",
        summary="GPUs of Macs, through llama-cpp-python built with Metal",
        loads=True,
        preference=10,
        factory=_backend,
    )
