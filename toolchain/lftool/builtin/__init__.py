"""Built-in plugins: what a bare `pip install lftool` can do. They see the public API only, like everyone's plugins.

Everything is imported when a record is used, so that listing costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import (
    ConverterType,
    LayoutType,
    ObserverType,
    RemoteStoreType,
    RuntimeType,
    SignerType,
    SourceType,
    VerifierType,
    hookimpl,
    lazily,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LFTOOL_API = (2, 0)


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Files beside the recipe, and behind a URL."""
    yield SourceType(
        name="file",
        summary="files beside the recipe, or in a root of yours",
        schemes=("file",),
        local=True,
        factory=lazily("lftool.builtin.file_source:FileSource"),
    )
    yield SourceType(
        name="http",
        summary="a file behind a URL",
        schemes=("http", "https"),
        ranges=True,
        factory=lazily("lftool.builtin.http_source:HTTPSource"),
    )


@hookimpl
def lftool_remote_stores() -> Iterator[RemoteStoreType]:
    """Caches over HTTP."""
    yield RemoteStoreType(
        name="http",
        summary="a cache over HTTP, as Bazel's",
        schemes=("http", "https"),
        factory=lazily("lftool.builtin.http_store:HTTPStore"),
    )


@hookimpl
def lftool_converters() -> Iterator[ConverterType]:
    """Parts of one GGUF to one GGUF."""
    yield ConverterType(
        name="gguf-join",
        summary="joins a GGUF that was split into several files",
        consumes=("gguf-split",),
        produces=("source",),
        semantics="gguf-join/1",
        streams=True,
        factory=lazily("lftool.builtin.join:GGUFJoin"),
    )


@hookimpl
def lftool_layouts() -> Iterator[LayoutType]:
    """The two layouts of the bundle format."""
    yield LayoutType(
        name="gguf",
        summary="a GGUF with everything else behind it; llama.cpp loads it by path",
        suffix=".gguf",
        media_type="application/vnd.lftool.bundle.gguf",
        factory=lazily("lftool.builtin.layouts:GGUFLayout"),
    )
    yield LayoutType(
        name="llamafile",
        summary="an executable that starts by itself, weights mapped in place",
        suffix=".llamafile",
        media_type="application/vnd.lftool.bundle.llamafile",
        default_runtime="python",
        factory=lazily("lftool.builtin.layouts:LlamafileLayout"),
    )


@hookimpl
def lftool_runtimes() -> Iterator[RuntimeType]:
    """The runtime that needs only sh, Python 3 and llama-cpp-python on the target."""
    yield RuntimeType(
        name="python",
        number=1,
        summary="a shell script that hands over to Python 3",
        factory=lazily("lftool.builtin.python_runtime:PythonRuntime"),
    )


@hookimpl
def lftool_signers() -> Iterator[SignerType]:
    """Local P-256 keys."""
    yield SignerType(
        name="key",
        summary="a P-256 key in a file or a variable",
        schemes=("env", "file"),
        factory=lazily("lftool.builtin.p256_keys:KeySigner"),
    )


@hookimpl
def lftool_verifiers() -> Iterator[VerifierType]:
    """Signatures of local P-256 keys."""
    yield VerifierType(
        name="ecdsa-p256-sha256",
        summary="ECDSA over P-256 with SHA-256",
        factory=lazily("lftool.builtin.p256_keys:P256Verifier"),
    )


@hookimpl
def lftool_observers() -> Iterator[ObserverType]:
    """What a person sees during a build."""
    yield ObserverType(
        name="console", summary="progress on standard error", factory=lazily("lftool.builtin.console:ConsoleObserver")
    )
