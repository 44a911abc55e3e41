"""The hooks. Each yields records of one type. The core looks records up by name and runs the stages itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from lftool.api.records import (
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
    Record,
    RemoteStoreType,
    RuntimeType,
    SignerType,
    SourceType,
    VerifierType,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

hookspec = pluggy.HookspecMarker("lftool")

# Hook name to the record type that the hook yields.
HOOKS: dict[str, type[Record]] = {
    "lftool_sources": SourceType,
    "lftool_remote_stores": RemoteStoreType,
    "lftool_destinations": DestinationType,
    "lftool_converters": ConverterType,
    "lftool_quantizers": QuantizerType,
    "lftool_backends": BackendType,
    "lftool_layouts": LayoutType,
    "lftool_runtimes": RuntimeType,
    "lftool_signers": SignerType,
    "lftool_verifiers": VerifierType,
    "lftool_observers": ObserverType,
    "lftool_checks": CheckType,
    "lftool_exporters": ExporterType,
    "lftool_commands": CommandType,
    "lftool_examples": Example,
}


class Hooks:
    """The hook specifications. Implement a hook as a module-level function of the same name with `@hookimpl`."""

    @hookspec
    def lftool_sources(self) -> Iterable[SourceType]:
        """Yield sources, which provide the files of a recipe.

        Called when lftool looks for plugins. The URI's scheme picks the source. lftool creates it in its own process,
        once for each source of a recipe that has to be resolved or fetched. Only `lftool lock` and `lftool outdated`
        call `resolve`. `open` is called for files that are not in the store, from several threads. The core limits
        sizes, hashes, compares, stores and retries.

        Example:
            >>> from lftool.api import SourceType, hookimpl
            >>> @hookimpl
            ... def lftool_sources():
            ...     yield SourceType(name="mem", summary="files in memory", schemes=("mem",), factory=lambda context: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_remote_stores(self) -> Iterable[RemoteStoreType]:
        """Yield kinds of remote stores, the shared caches that `LFTOOL_REMOTE_STORE` can name.

        The scheme of a URL picks the kind. lftool creates the store in its own process, when a build needs something
        that is not in the local store and in `lftool cache push`. The core compresses, hashes, and trusts nothing that
        it has not checked. A store that fails is skipped.

        Example:
            >>> from lftool.api import RemoteStoreType, hookimpl
            >>> @hookimpl
            ... def lftool_remote_stores():
            ...     yield RemoteStoreType(name="dav", summary="WebDAV", schemes=("dav",), factory=lambda context: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_destinations(self) -> Iterable[DestinationType]:
        """Yield destinations, where `lftool push` publishes bundles.

        The scheme of the URI picks the destination. lftool creates it in its own process, after it has checked every
        byte of the bundles. `plan` contacts no server. `publish` uploads what is missing, and makes it visible last.

        Example:
            >>> from lftool.api import DestinationType, hookimpl
            >>> @hookimpl
            ... def lftool_destinations():
            ...     yield DestinationType(name="dav", summary="WebDAV", schemes=("dav",), factory=lambda context: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_converters(self) -> Iterable[ConverterType]:
        """Yield converters, which turn the files of a source into one GGUF.

        Every build that may convert calls `tool` in lftool's own process. The other methods run in a confined child
        process: `plan` during locking, `run` if the GGUF is missing. Inputs are checked before, the output after.

        Example:
            >>> from lftool.api import ConverterType, hookimpl
            >>> @hookimpl
            ... def lftool_converters():
            ...     yield ConverterType(
            ...         name="mine", summary="reads them", consumes=("safetensors",), produces=("source",), semantics="mine/1",
            ...         factory=lambda: ...,
            ...     )
        """
        raise NotImplementedError

    @hookspec
    def lftool_quantizers(self) -> Iterable[QuantizerType]:
        """Yield quantizers, which turn a GGUF into one with other tensor types.

        As for converters, `tool` runs in lftool's own process and everything else in a confined child process, and
        inputs and output are checked. A lock pins the plan and the digest of what the quantizer makes from a fixed
        input. A quantizer that makes other bits is refused.

        Example:
            >>> from lftool.api import QuantizerType, hookimpl
            >>> @hookimpl
            ... def lftool_quantizers():
            ...     yield QuantizerType(
            ...         name="mine", summary="rounds", consumes=("gguf",), produces=("F16",), semantics="mine/1",
            ...         factory=lambda: ...,
            ...     )
        """
        raise NotImplementedError

    @hookspec
    def lftool_backends(self) -> Iterable[BackendType]:
        """Yield backends, the devices that bundles run on.

        `probe`, `measure` and `load` run in child processes. `lftool run`, `serve` and `check` call `launch` in their
        own process after they have checked the bundle. The command that it returns is started confined.

        Example:
            >>> from lftool.api import BackendType, hookimpl
            >>> @hookimpl
            ... def lftool_backends():
            ...     yield BackendType(name="npu", summary="runs on an NPU", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_layouts(self) -> Iterable[LayoutType]:
        """Yield layouts, which decide where everything goes in a bundle.

        For each bundle that it packs, lftool creates the layout and calls `plan` in its own process. The core writes
        every byte.

        Example:
            >>> from lftool.api import LayoutType, hookimpl
            >>> @hookimpl
            ... def lftool_layouts():
            ...     yield LayoutType(
            ...         name="plain", summary="a GGUF", suffix=".gguf", media_type="application/x-gguf", factory=lambda: ...
            ...     )
        """
        raise NotImplementedError

    @hookspec
    def lftool_runtimes(self) -> Iterable[RuntimeType]:
        """Yield runtimes, which come first in a bundle and make it start by itself.

        lftool calls the runtime in its own process when it locks a recipe and when it packs a bundle. A compiled
        runtime is compiled in a child process. The lock pins the digest of the runtime's bytes.

        Example:
            >>> from lftool.api import RuntimeType, hookimpl
            >>> @hookimpl
            ... def lftool_runtimes():
            ...     yield RuntimeType(name="tiny", number=1, summary="a shell script", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_signers(self) -> Iterable[SignerType]:
        """Yield signers, which sign with private keys. The scheme of a recipe's `[sign] key` picks the signer.

        Builds that sign and `lftool quality` create it in lftool's own process. The core builds every statement and
        envelope, and verifies each signature before it writes it.

        Example:
            >>> from lftool.api import SignerType, hookimpl
            >>> @hookimpl
            ... def lftool_signers():
            ...     yield SignerType(name="kms", summary="a key in a KMS", schemes=("kms",), factory=lambda context: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_verifiers(self) -> Iterable[VerifierType]:
        """Yield verifiers, one for each signature scheme.

        lftool creates a verifier in its own process, to check each new signature, and in `lftool verify` and `run` if
        the user's trust policy names the plugin. Nothing in a bundle chooses a plugin.

        Example:
            >>> from lftool.api import VerifierType, hookimpl
            >>> @hookimpl
            ... def lftool_verifiers():
            ...     yield VerifierType(name="ed25519", summary="Ed25519", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_observers(self) -> Iterable[ObserverType]:
        """Yield observers, which receive events and change nothing.

        lftool creates all of them in its own process when a command opens a project, and calls them from several
        threads. An observer that raises is dropped with a warning.

        Example:
            >>> from lftool.api import ObserverType, hookimpl
            >>> @hookimpl
            ... def lftool_observers():
            ...     yield ObserverType(name="count", summary="counts events", factory=lambda: print)
        """
        raise NotImplementedError

    @hookspec
    def lftool_checks(self) -> Iterable[CheckType]:
        """Yield kinds of checks, for the `[[checks]]` of a recipe.

        Options are parsed when a recipe is locked and built. `lftool check` creates the check and runs it in a thread
        of its own process. The model runs in a separate, confined process. No check changes a byte of a bundle.

        Example:
            >>> from lftool.api import CheckType, hookimpl
            >>> @hookimpl
            ... def lftool_checks():
            ...     yield CheckType(name="size", summary="no bundle is too large", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_exporters(self) -> Iterable[ExporterType]:
        """Yield exporters, which make what other tools need to run a bundle.

        `lftool export NAME` creates the exporter in its own process after it has checked every byte of the bundle. A
        folder that an exporter fills gets its name after `export` has returned, and is removed if `export` raises.

        Example:
            >>> from lftool.api import ExporterType, hookimpl
            >>> @hookimpl
            ... def lftool_exporters():
            ...     yield ExporterType(name="nomad", summary="a job of Nomad", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_commands(self) -> Iterable[CommandType]:
        """Yield commands. lftool looks for them when you type a command that it does not have itself.

        The command runs in lftool's own process. It cannot replace one of lftool's own commands.

        Example:
            >>> from lftool.api import CommandType, hookimpl
            >>> @hookimpl
            ... def lftool_commands():
            ...     yield CommandType(name="publish", summary="put bundles on our shelf", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_examples(self) -> Iterable[Example]:
        """Yield examples, which `lftool plugins test` uses to test what the plugin offers.

        Only that command makes examples: a new one for each test, in an empty folder.

        Example:
            >>> from lftool.api import Example, SourceType, hookimpl, lazily
            >>> @hookimpl
            ... def lftool_examples():
            ...     yield Example(
            ...         name="mem", summary="one file", of=SourceType, make=lazily("lftool_mem.examples:served")
            ...     )
        """
        raise NotImplementedError
