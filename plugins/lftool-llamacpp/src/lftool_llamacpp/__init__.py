"""lftool plugin: quantise with llama.cpp, and run bundles in place on the CPU.

llama-cpp-python is imported in child processes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import FILE_TYPES, BackendType, QuantizerType, hookimpl
from lftool_llamacpp.quantizer import LlamaCppQuantizer, Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import Backend

LFTOOL_API = (1, 0)


def _cpu() -> Backend:
    from lftool_llamacpp.backend import CPUBackend  # noqa: PLC0415 - imported when used

    return CPUBackend()


@hookimpl
def lftool_quantizers() -> Iterator[QuantizerType]:
    """llama.cpp's own quantiser."""
    yield QuantizerType(
        name="llama.cpp",
        summary="llama_model_quantize of llama-cpp-python",
        consumes=("gguf",),
        produces=tuple(sorted(FILE_TYPES)),
        semantics="ggml-q/1",
        options=Options,
        factory=LlamaCppQuantizer,
    )


@hookimpl
def lftool_backends() -> Iterator[BackendType]:
    """The CPU, through llama-cpp-python."""
    yield BackendType(name="cpu", summary="llama-cpp-python on the CPU, weights mapped in place", factory=_cpu)
