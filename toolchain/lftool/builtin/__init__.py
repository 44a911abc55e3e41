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
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import (
        Layout,
        Observer,
        RemoteStore,
        RemoteStoreContext,
        Runtime,
        Signer,
        SignerContext,
        Source,
        SourceContext,
        Transform,
        Verifier,
    )

LFTOOL_API = (2, 0)


def _file_source(context: SourceContext) -> Source:
    from lftool.builtin.file_source import FileSource  # noqa: PLC0415 - imported when used

    return FileSource(context)


def _http_source(context: SourceContext) -> Source:
    from lftool.builtin.http_source import HTTPSource  # noqa: PLC0415 - imported when used

    return HTTPSource(context)


def _http_store(context: RemoteStoreContext) -> RemoteStore:
    from lftool.builtin.http_store import HTTPStore  # noqa: PLC0415 - imported when used

    return HTTPStore(context)


def _gguf_join() -> Transform:
    from lftool.builtin.join import GGUFJoin  # noqa: PLC0415 - imported when used

    return GGUFJoin()


def _gguf_layout() -> Layout:
    from lftool.builtin.layouts import GGUFLayout  # noqa: PLC0415 - imported when used

    return GGUFLayout()


def _llamafile_layout() -> Layout:
    from lftool.builtin.layouts import LlamafileLayout  # noqa: PLC0415 - imported when used

    return LlamafileLayout()


def _python_runtime() -> Runtime:
    from lftool.builtin.python_runtime import PythonRuntime  # noqa: PLC0415 - imported when used

    return PythonRuntime()


def _key_signer(context: SignerContext) -> Signer:
    from lftool.builtin.p256_keys import KeySigner  # noqa: PLC0415 - imported when used

    return KeySigner(context)


def _p256_verifier() -> Verifier:
    from lftool.builtin.p256_keys import P256Verifier  # noqa: PLC0415 - imported when used

    return P256Verifier()


def _console() -> Observer:
    from lftool.builtin.console import ConsoleObserver  # noqa: PLC0415 - imported when used

    return ConsoleObserver()


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Files beside the recipe, and behind a URL."""
    yield SourceType(
        name="file",
        summary="files beside the recipe, or in a root of yours",
        schemes=("file",),
        local=True,
        factory=_file_source,
    )
    yield SourceType(
        name="http",
        summary="a file behind a URL",
        schemes=("http", "https"),
        ranges=True,
        factory=_http_source,
    )


@hookimpl
def lftool_remote_stores() -> Iterator[RemoteStoreType]:
    """Caches over HTTP."""
    yield RemoteStoreType(
        name="http", summary="a cache over HTTP, as Bazel's", schemes=("http", "https"), factory=_http_store
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
        factory=_gguf_join,
    )


@hookimpl
def lftool_layouts() -> Iterator[LayoutType]:
    """The two layouts of the bundle format."""
    yield LayoutType(
        name="gguf",
        summary="a GGUF with everything else behind it; llama.cpp loads it by path",
        suffix=".gguf",
        media_type="application/vnd.lftool.bundle.gguf",
        factory=_gguf_layout,
    )
    yield LayoutType(
        name="llamafile",
        summary="an executable that starts by itself, weights mapped in place",
        suffix=".llamafile",
        media_type="application/vnd.lftool.bundle.llamafile",
        default_runtime="python",
        factory=_llamafile_layout,
    )


@hookimpl
def lftool_runtimes() -> Iterator[RuntimeType]:
    """The runtime that needs only sh, Python 3 and llama-cpp-python on the target."""
    yield RuntimeType(
        name="python", number=1, summary="a shell script that hands over to Python 3", factory=_python_runtime
    )


@hookimpl
def lftool_signers() -> Iterator[SignerType]:
    """Local P-256 keys."""
    yield SignerType(
        name="key", summary="a P-256 key in a file or a variable", schemes=("env", "file"), factory=_key_signer
    )


@hookimpl
def lftool_verifiers() -> Iterator[VerifierType]:
    """Signatures of local P-256 keys."""
    yield VerifierType(name="ecdsa-p256-sha256", summary="ECDSA over P-256 with SHA-256", factory=_p256_verifier)


@hookimpl
def lftool_observers() -> Iterator[ObserverType]:
    """What a person sees during a build."""
    yield ObserverType(name="console", summary="progress on standard error", factory=_console)
