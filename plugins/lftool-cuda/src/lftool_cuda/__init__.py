"""lftool plugin: quantise on NVIDIA GPUs, to the same bits as on any CPU, and run bundles on them.

CuPy is imported in child processes only, and only where there is a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import BackendType, QuantizerType, RuntimeType, hookimpl, lazily
from lftool.api.gguf import MixtureOptions
from lftool_llamacpp.applied import APPLIED
from lftool_llamacpp.flavours import REQUESTS
from lftool_strict.mixture import MIXTURE
from lftool_strict.quantizer import OFFERED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import CompiledRuntime

LFTOOL_API = (2, 0)


def _native() -> CompiledRuntime:
    from lftool_cuda.flavour import CUDA  # noqa: PLC0415 - imported when used
    from lftool_llamacpp.native_runtime import NativeRuntime  # noqa: PLC0415 - as above

    return NativeRuntime(CUDA)


@hookimpl
def lftool_backends() -> Iterator[BackendType]:
    """NVIDIA GPUs."""
    yield BackendType(
        name="cuda",
        summary="NVIDIA GPUs, through llama.cpp built with CUDA",
        engine="llama-cpp-python",
        module="llama_cpp",
        loads=True,
        preference=10,
        applies=APPLIED,
        factory=lazily("lftool_cuda.backend:CUDABackend"),
    )


@hookimpl
def lftool_runtimes() -> Iterator[RuntimeType]:
    """llama.cpp with CUDA as one executable."""
    yield RuntimeType(
        name="native",
        number=1,
        summary="llama.cpp with CUDA as one executable, compiled here; needs NVIDIA's driver",
        compiled=True,
        backend="cuda",
        requests=REQUESTS,
        applies=APPLIED,
        factory=_native,
    )


@hookimpl
def lftool_quantizers() -> Iterator[QuantizerType]:
    """The kernels of `strict`, one block a thread."""
    yield QuantizerType(
        name="cuda",
        summary="the kernels of 'strict' on an NVIDIA GPU",
        consumes=("gguf",),
        produces=tuple(sorted(OFFERED)),
        semantics="ggml-q/1",
        streams=True,
        mixtures=(MIXTURE,),
        preference=-10,
        accelerates="strict",
        backend="cuda",
        options=MixtureOptions,
        factory=lazily("lftool_cuda.quantizer:CUDAQuantizer"),
    )
