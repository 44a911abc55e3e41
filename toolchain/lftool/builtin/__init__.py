"""Built-in plugins: the features of a plain `pip install lftool`. Like any plugin, they use only the public API.

Modules are imported when a record is used, so that listing records is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import (
    RUN_KEYS,
    CheckType,
    ConverterType,
    DestinationType,
    ExporterType,
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

LFTOOL_API = (2, 1)


@hookimpl
def lftool_sources() -> Iterator[SourceType]:
    """Files beside the recipe, and behind a URL."""
    yield SourceType(
        name="file",
        summary="files beside the recipe, or in one of your roots",
        schemes=("file",),
        local=True,
        factory=lazily("lftool.builtin.file_source:FileSource"),
    )
    yield SourceType(
        name="http",
        summary="a file at a URL",
        schemes=("http", "https"),
        ranges=True,
        factory=lazily("lftool.builtin.http_source:HTTPSource"),
    )


@hookimpl
def lftool_destinations() -> Iterator[DestinationType]:
    """Folders."""
    yield DestinationType(
        name="file",
        summary="a folder, with an index.json",
        schemes=("file",),
        factory=lazily("lftool.builtin.folder_destination:FolderDestination"),
    )


@hookimpl
def lftool_remote_stores() -> Iterator[RemoteStoreType]:
    """Caches over HTTP."""
    yield RemoteStoreType(
        name="http",
        summary="a cache over HTTP, such as Bazel's",
        schemes=("http", "https"),
        factory=lazily("lftool.builtin.http_store:HTTPStore"),
    )


@hookimpl
def lftool_converters() -> Iterator[ConverterType]:
    """Joins the parts of a split GGUF."""
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
        summary="a GGUF followed by everything else; llama.cpp loads it by path",
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
    """The runtime whose target machine needs only sh, Python 3 and llama-cpp-python."""
    yield RuntimeType(
        name="python",
        number=1,
        summary="a shell script that hands over to Python 3",
        applies=RUN_KEYS,
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
    """The console output of a build."""
    yield ObserverType(
        name="console", summary="progress on standard error", factory=lazily("lftool.builtin.console:ConsoleObserver")
    )


@hookimpl
def lftool_checks() -> Iterator[CheckType]:
    """Answers, formats, vectors, rankings, perplexity, time to first token."""
    yield CheckType(
        name="perplexity",
        summary="the rise in perplexity over the unquantised weights stays within a limit",
        options=lazily("lftool.builtin.check_kinds:PerplexityOptions"),
        factory=lazily("lftool.builtin.check_kinds:PerplexityCheck"),
    )
    yield CheckType(
        name="prompt",
        summary="an answer contains some texts",
        options=lazily("lftool.builtin.check_kinds:PromptOptions"),
        factory=lazily("lftool.builtin.check_kinds:PromptCheck"),
    )
    yield CheckType(
        name="regex",
        summary="an answer matches a regular expression",
        options=lazily("lftool.builtin.check_kinds:RegexOptions"),
        factory=lazily("lftool.builtin.check_kinds:RegexCheck"),
    )
    yield CheckType(
        name="json-schema",
        summary="an answer is JSON that a schema accepts",
        options=lazily("lftool.builtin.check_kinds:JSONSchemaOptions"),
        factory=lazily("lftool.builtin.check_kinds:JSONSchemaCheck"),
    )
    yield CheckType(
        name="embedding",
        summary="an answer, or a text, is close to another text",
        options=lazily("lftool.builtin.check_kinds:EmbeddingOptions"),
        of=("generates", "embeds"),
        factory=lazily("lftool.builtin.check_kinds:EmbeddingCheck"),
    )
    yield CheckType(
        name="rerank",
        summary="one document is more relevant to a query than the others",
        options=lazily("lftool.builtin.check_kinds:RerankOptions"),
        of=("ranks",),
        factory=lazily("lftool.builtin.check_kinds:RerankCheck"),
    )
    yield CheckType(
        name="time-to-first-token",
        summary="the first token arrives within a time limit",
        options=lazily("lftool.builtin.check_kinds:FirstTokenOptions"),
        factory=lazily("lftool.builtin.check_kinds:FirstTokenCheck"),
    )


@hookimpl
def lftool_exporters() -> Iterator[ExporterType]:
    """Container images, Compose files, Kubernetes manifests."""
    yield ExporterType(
        name="container",
        summary="write a native bundle as an OCI image layout",
        options=lazily("lftool.builtin.container:ContainerOptions"),
        writes="folder",
        factory=lazily("lftool.builtin.container:ContainerExporter"),
    )
    yield ExporterType(
        name="compose",
        summary="a Compose file that serves an image of a bundle, with memory computed from its model",
        options=lazily("lftool.builtin.deployments:ImageOptions"),
        factory=lazily("lftool.builtin.deployments:ComposeExporter"),
    )
    yield ExporterType(
        name="preset",
        summary="a preset for llama.cpp's server with several models, with the run contract",
        options=lazily("lftool.builtin.presets:PresetOptions"),
        factory=lazily("lftool.builtin.presets:PresetExporter"),
    )
    yield ExporterType(
        name="k8s",
        summary="Kubernetes manifests that serve an image of a bundle, with probes and resources",
        options=lazily("lftool.builtin.deployments:KubernetesOptions"),
        factory=lazily("lftool.builtin.deployments:KubernetesExporter"),
    )
