"""One of each: every kind of thing that a plugin of lftool can offer.

This module is imported whenever lftool looks for plugins, so it only says what there is: `lazily` names what does the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import (
    BackendType,
    CheckType,
    CommandType,
    ConverterType,
    DestinationType,
    Example,
    ExporterType,
    LayoutType,
    ObserverType,
    QuantizerType,
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
    """Archives."""
    yield SourceType(
        name="zipped",
        summary="files in a ZIP archive behind a URL",
        schemes=("zipped",),
        options=lazily("lftool_sampler.archives:Options"),
        factory=lazily("lftool_sampler.archives:ZippedSource"),
    )


@hookimpl
def lftool_remote_stores() -> Iterator[RemoteStoreType]:
    """Folders."""
    yield RemoteStoreType(
        name="shelf",
        summary="a folder, such as one on a network drive",
        schemes=("shelf",),
        factory=lazily("lftool_sampler.shelves:Shelf"),
    )


@hookimpl
def lftool_destinations() -> Iterator[DestinationType]:
    """Folders."""
    yield DestinationType(
        name="shelf",
        summary="a folder, such as one on a network drive",
        schemes=("shelf",),
        factory=lazily("lftool_sampler.publishing:ShelfDestination"),
    )


@hookimpl
def lftool_converters() -> Iterator[ConverterType]:
    """A format of our own."""
    yield ConverterType(
        name="numbers",
        summary="tensors in JSON",
        consumes=("numbers",),
        produces=("source",),
        recognises=("*.numbers.json",),
        beside=("names.txt",),
        semantics="numbers/1",
        options=lazily("lftool_sampler.numbers:Options"),
        factory=lazily("lftool_sampler.numbers:Numbers"),
    )


@hookimpl
def lftool_quantizers() -> Iterator[QuantizerType]:
    """Arithmetic that everybody can check."""
    yield QuantizerType(
        name="halving",
        summary="F16 weights, each multiplied by a power of two",
        consumes=("gguf",),
        produces=("HALVED",),
        semantics="halving/1",
        options=lazily("lftool_sampler.halving:Options"),
        factory=lazily("lftool_sampler.halving:Halving"),
    )


@hookimpl
def lftool_backends() -> Iterator[BackendType]:
    """A device."""
    yield BackendType(
        name="abacus",
        summary="runs on beads",
        options=lazily("lftool_sampler.abacus:Options"),
        factory=lazily("lftool_sampler.abacus:Abacus"),
    )


@hookimpl
def lftool_layouts() -> Iterator[LayoutType]:
    """A layout."""
    yield LayoutType(
        name="plain",
        summary="weights first, companions by choice",
        suffix=".plain",
        media_type="application/octet-stream",
        options=lazily("lftool_sampler.plain:Options"),
        factory=lazily("lftool_sampler.plain:Plain"),
    )


@hookimpl
def lftool_runtimes() -> Iterator[RuntimeType]:
    """A runtime."""
    yield RuntimeType(
        name="greeting",
        number=1,
        summary="a shell script that says what it begins",
        factory=lazily("lftool_sampler.greeting:Greeting"),
    )


@hookimpl
def lftool_signers() -> Iterator[SignerType]:
    """Ed25519 keys."""
    yield SignerType(
        name="ed25519",
        summary="an Ed25519 key in a file of the project",
        schemes=("ed25519",),
        factory=lazily("lftool_sampler.ed25519:Ed25519Signer"),
    )


@hookimpl
def lftool_verifiers() -> Iterator[VerifierType]:
    """Their signatures."""
    yield VerifierType(
        name="ed25519", summary="Ed25519 (RFC 8032)", factory=lazily("lftool_sampler.ed25519:Ed25519Verifier")
    )


@hookimpl
def lftool_observers() -> Iterator[ObserverType]:
    """A journal."""
    yield ObserverType(
        name="journal",
        summary="events as lines of JSON",
        options=lazily("lftool_sampler.journal:Options"),
        factory=lazily("lftool_sampler.journal:Journal"),
    )


@hookimpl
def lftool_checks() -> Iterator[CheckType]:
    """A budget."""
    yield CheckType(
        name="budget",
        summary="a bundle is no larger than that",
        options=lazily("lftool_sampler.budget:Options"),
        of=("generates", "embeds", "ranks"),
        factory=lazily("lftool_sampler.budget:Budget"),
    )


@hookimpl
def lftool_exporters() -> Iterator[ExporterType]:
    """A listing."""
    yield ExporterType(
        name="listing",
        summary="what is in a bundle, as Markdown",
        options=lazily("lftool_sampler.listing:Options"),
        factory=lazily("lftool_sampler.listing:Listing"),
    )


@hookimpl
def lftool_commands() -> Iterator[CommandType]:
    """A command."""
    yield CommandType(
        name="tensors",
        summary="say how many tensors GGUF files have",
        factory=lazily("lftool_sampler.tensors:command"),
    )


@hookimpl
def lftool_examples() -> Iterator[Example]:
    """What `lftool plugins test sampler` tries them with; of the others the kits know enough."""
    examples = {
        ("zipped", SourceType): "served",
        ("shelf", RemoteStoreType): "place",
        ("shelf", DestinationType): "publishing",
        ("numbers", ConverterType): "conversion",
        ("halving", QuantizerType): "quantization",
        ("abacus", BackendType): "device",
        ("ed25519", SignerType): "key",
        ("ed25519", VerifierType): "signed",
        ("budget", CheckType): "bundles",
        ("journal", ObserverType): "journal",
    }
    for (name, of), function in examples.items():
        yield Example(name=name, summary=function, of=of, make=lazily(f"lftool_sampler.examples:{function}"))
