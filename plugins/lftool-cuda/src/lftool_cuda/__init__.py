"""lftool plugin: quantise on NVIDIA GPUs, to the same bits as on any CPU.

CuPy is imported in child processes only, and only where there is a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import QuantizerType, hookimpl
from lftool_cuda.quantizer import CUDAQuantizer
from lftool_strict.quantizer import OFFERED, Options

if TYPE_CHECKING:
    from collections.abc import Iterator

LFTOOL_API = (1, 0)


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
        mixture="llama.cpp",
        preference=-10,
        accelerates="strict",
        backend="cuda",
        options=Options,
        factory=CUDAQuantizer,
    )
