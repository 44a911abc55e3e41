"""lftool plugin: quantise with llama.cpp, and run bundles in place on the CPU.

llama-cpp-python is imported in child processes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import BackendType, ConverterType, QuantizerType, RuntimeType, SourceType, hookimpl, lazily
from lftool.api.gguf import FILE_TYPES
from lftool_llamacpp.applied import APPLIED
from lftool_llamacpp.flavours import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import CompiledRuntime

LFTOOL_API = (2, 0)


def _native() -> CompiledRuntime:
    from lftool_llamacpp.flavours import CPU  # noqa: PLC0415 - imported when used
    from lftool_llamacpp.native_runtime import NativeRuntime  # noqa: PLC0415 - as above

    return NativeRuntime(CPU)


def _native_ui() -> CompiledRuntime:
    from lftool_llamacpp.flavours import CPU_UI  # noqa: PLC0415 - imported when used
    from lftool_llamacpp.native_runtime import NativeRuntime  # noqa: PLC0415 - as above

    return NativeRuntime(CPU_UI)


@hookimpl
def lftool_quantizers() -> Iterator[QuantizerType]:
    """llama.cpp's own quantiser."""
    yield QuantizerType(
        name="llama.cpp",
        summary="llama_model_quantize of llama-cpp-python",
        consumes=("gguf",),
        produces=tuple(sorted(FILE_TYPES)),
        semantics="ggml-q/1",
        options=lazily("lftool_llamacpp.quantizer:Options"),
        alignment=32,  # it copies general.alignment and writes everything for 32
        factory=lazily("lftool_llamacpp.quantizer:LlamaCppQuantizer"),
    )


@hookimpl
def lftool_converters() -> Iterator[ConverterType]:
    """llama.cpp's own conversions of Hugging Face models, and of what goes with them."""
    yield ConverterType(
        name="llama.cpp",
        summary="convert_hf_to_gguf of llama.cpp",
        consumes=("safetensors",),
        produces=("source", "auto", "f32", "f16", "bf16"),
        semantics="hf-gguf/1",
        streams=True,
        factory=lazily("lftool_llamacpp.converter:HuggingFaceConverter"),
    )
    yield ConverterType(
        name="llama.cpp-lora",
        summary="convert_lora_to_gguf of llama.cpp",
        makes="adapter",
        consumes=("peft",),
        produces=("source", "f32", "f16", "bf16"),
        semantics="hf-lora/1",
        factory=lazily("lftool_llamacpp.converter:AdapterConverter"),
    )
    yield ConverterType(
        name="llama.cpp-mmproj",
        summary="convert_hf_to_gguf --mmproj of llama.cpp",
        makes="mmproj",
        consumes=("safetensors",),
        produces=("source", "auto", "f32", "f16", "bf16"),
        semantics="hf-mmproj/1",
        streams=True,
        factory=lazily("lftool_llamacpp.converter:ProjectorConverter"),
    )


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Releases on a Python package index: the conversion scripts lie in one."""
    yield SourceType(
        name="pypi",
        summary="a release on pip's configured package index",
        schemes=("pypi",),
        ranges=True,
        factory=lazily("lftool_llamacpp.package_index:PackageIndexSource"),
    )


@hookimpl
def lftool_runtimes() -> Iterator[RuntimeType]:
    """llama.cpp as one executable, which needs no Python."""
    yield RuntimeType(
        name="native",
        number=1,
        summary="llama.cpp as one executable, compiled here; needs no Python",
        compiled=True,
        backend="cpu",
        requests=REQUESTS,
        applies=APPLIED,
        factory=_native,
    )
    yield RuntimeType(
        name="native-ui",
        number=1,
        summary="the native runtime with llama.cpp's web page, built with npm",
        compiled=True,
        backend="cpu",
        requests=REQUESTS,
        applies=APPLIED,
        factory=_native_ui,
    )


@hookimpl
def lftool_backends() -> Iterator[BackendType]:
    """The CPU, through llama-cpp-python."""
    yield BackendType(
        name="cpu",
        summary="llama-cpp-python on the CPU, weights mapped in place",
        engine="llama-cpp-python",
        module="llama_cpp",
        loads=True,
        preference=1,
        applies=APPLIED,
        factory=lazily("lftool_llamacpp.backend:CPUBackend"),
    )
