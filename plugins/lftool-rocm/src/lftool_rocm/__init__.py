"""lftool plugin: run bundles on AMD GPUs through ROCm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import BackendType, RuntimeType, hookimpl, lazily
from lftool_llamacpp.applied import APPLIED
from lftool_llamacpp.flavours import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import CompiledRuntime

LFTOOL_API = (2, 0)


def _native() -> CompiledRuntime:
    from lftool_llamacpp.native_runtime import NativeRuntime  # noqa: PLC0415 - imported when used
    from lftool_rocm.flavour import ROCM  # noqa: PLC0415 - as above

    return NativeRuntime(ROCM)


@hookimpl
def lftool_backends() -> Iterator[BackendType]:
    """AMD GPUs."""
    yield BackendType(
        name="rocm",
        summary="AMD GPUs, through llama.cpp built with HIP",
        engine="llama-cpp-python",
        module="llama_cpp",
        loads=True,
        preference=10,
        applies=APPLIED,
        factory=lazily("lftool_rocm.backend:ROCmBackend"),
    )


@hookimpl
def lftool_runtimes() -> Iterator[RuntimeType]:
    """llama.cpp with HIP as one executable."""
    yield RuntimeType(
        name="native",
        number=1,
        summary="llama.cpp with HIP as one executable, compiled here; needs ROCm's libraries",
        compiled=True,
        backend="rocm",
        requests=REQUESTS,
        applies=APPLIED,
        factory=_native,
    )
