"""The hooks. Each yields records of one type; the core asks for them by name and runs the stages itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from lftool.api.records import (
    BackendType,
    CheckType,
    CommandType,
    ConverterType,
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
hookimpl = pluggy.HookimplMarker("lftool")

# Hook name to the record type that it yields.
HOOKS: dict[str, type[Record]] = {
    "lftool_sources": SourceType,
    "lftool_remote_stores": RemoteStoreType,
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
    """The hook specifications; an implementation is a module-level function of the same name with `@hookimpl`."""

    @hookspec
    def lftool_sources(self) -> Iterable[SourceType]:
        """Yield sources: where the files of a recipe come from.

        Asked when lftool looks for plugins. The source of a URI's scheme is made in lftool's own process, once for each source of
        a recipe that has to be resolved or fetched. `resolve` is called by `lftool lock` and `lftool outdated` only. `open` is
        called for files that the store does not have, from several threads. The core bounds, hashes, compares, stores and tries again.

        Example:
            >>> from lftool.api import SourceType, hookimpl
            >>> @hookimpl
            ... def lftool_sources():
            ...     yield SourceType(name="mem", summary="files in memory", schemes=("mem",), factory=lambda context: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_remote_stores(self) -> Iterable[RemoteStoreType]:
        """Yield kinds of remote stores: a shared cache that `LFTOOL_REMOTE_STORE` names.

        The store of a URL's scheme is made in lftool's own process when a build needs what is not here, and by `lftool cache push`.
        The core compresses, hashes, and believes nothing that it has not checked; a store that fails is passed over.

        Example:
            >>> from lftool.api import RemoteStoreType, hookimpl
            >>> @hookimpl
            ... def lftool_remote_stores():
            ...     yield RemoteStoreType(name="dav", summary="WebDAV", schemes=("dav",), factory=lambda context: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_converters(self) -> Iterable[ConverterType]:
        """Yield converters: from the files of a source to one GGUF.

        `tool` is called in lftool's own process by every build that may convert; the other methods run in a confined child process.
        `plan` runs when a recipe is locked, `run` when the GGUF is not there. Inputs are checked before, the output after.

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
        """Yield quantizers: from a GGUF to one with other types of tensors.

        As converters: `tool` in lftool's own process, everything else in a confined child process, inputs and output checked.
        A lock pins the plan and the digest of what the quantizer makes of a fixed input; a quantizer that makes other bits is refused.

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
        """Yield backends: devices that bundles run on.

        `probe`, `measure` and `load` run in child processes. `launch` is called by `lftool run`, `serve` and `check`, in their own
        process, once the bundle has been checked; what it returns is started confined.

        Example:
            >>> from lftool.api import BackendType, hookimpl
            >>> @hookimpl
            ... def lftool_backends():
            ...     yield BackendType(name="npu", summary="runs on an NPU", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_layouts(self) -> Iterable[LayoutType]:
        """Yield layouts: where everything goes in a bundle.

        Made, and asked for its plan, in lftool's own process, for each bundle that is packed. The core writes every byte.

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
        """Yield runtimes: what bundles begin with that start by themselves.

        Asked in lftool's own process when a recipe is locked, and when a bundle is packed; a compiled one compiles in a child process.
        The lock pins the digest of its bytes.

        Example:
            >>> from lftool.api import RuntimeType, hookimpl
            >>> @hookimpl
            ... def lftool_runtimes():
            ...     yield RuntimeType(name="tiny", number=1, summary="a shell script", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_signers(self) -> Iterable[SignerType]:
        """Yield signers: private keys, by the scheme of a recipe's `[sign] key`.

        Made in lftool's own process by builds that sign, and by `lftool quality`. The core builds every statement and envelope, and
        verifies what a signer made before it writes it.

        Example:
            >>> from lftool.api import SignerType, hookimpl
            >>> @hookimpl
            ... def lftool_signers():
            ...     yield SignerType(name="kms", summary="a key in a KMS", schemes=("kms",), factory=lambda context: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_verifiers(self) -> Iterable[VerifierType]:
        """Yield verifiers: signature schemes.

        Made in lftool's own process, by `lftool verify` and `run` where the user's trust policy names the plugin, and for what a
        signer has just made. Nothing of a bundle chooses a plugin.

        Example:
            >>> from lftool.api import VerifierType, hookimpl
            >>> @hookimpl
            ... def lftool_verifiers():
            ...     yield VerifierType(name="ed25519", summary="Ed25519", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_observers(self) -> Iterable[ObserverType]:
        """Yield observers: what sees events, and changes nothing.

        All are made when a command opens a project, in lftool's own process, and called from several threads. One that raises is
        dropped, with a warning.

        Example:
            >>> from lftool.api import ObserverType, hookimpl
            >>> @hookimpl
            ... def lftool_observers():
            ...     yield ObserverType(name="count", summary="counts events", factory=lambda: print)
        """
        raise NotImplementedError

    @hookspec
    def lftool_checks(self) -> Iterable[CheckType]:
        """Yield kinds of checks: what `[[checks]]` hold a bundle against.

        Options are structured when a recipe is locked and built. The check itself is made and carried out by `lftool check`, in
        its own process, in a thread; the model answers from a confined process of its own. No check changes a byte of a bundle.

        Example:
            >>> from lftool.api import CheckType, hookimpl
            >>> @hookimpl
            ... def lftool_checks():
            ...     yield CheckType(name="size", summary="no bundle is too large", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_exporters(self) -> Iterable[ExporterType]:
        """Yield exporters: what others need to run a bundle.

        Made by `lftool export NAME`, in its own process, once every byte of the bundle has been checked. A folder that an exporter
        fills gets its name once `export` has returned, and is gone if it raises.

        Example:
            >>> from lftool.api import ExporterType, hookimpl
            >>> @hookimpl
            ... def lftool_exporters():
            ...     yield ExporterType(name="nomad", summary="a job of Nomad", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_commands(self) -> Iterable[CommandType]:
        """Yield commands. Plugins are asked when somebody types a command that lftool does not have.

        The command runs in lftool's own process. lftool's own names stay its own.

        Example:
            >>> from lftool.api import CommandType, hookimpl
            >>> @hookimpl
            ... def lftool_commands():
            ...     yield CommandType(name="publish", summary="put bundles on our shelf", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_examples(self) -> Iterable[Example]:
        """Yield examples of what the plugin offers, which `lftool plugins test` tries it with.

        Examples are made by that command only, each in an empty folder, for each test anew.

        Example:
            >>> from lftool.api import Example, SourceType, hookimpl, lazily
            >>> @hookimpl
            ... def lftool_examples():
            ...     yield Example(
            ...         name="mem", summary="one file", of=SourceType, make=lazily("lftool_mem.examples:served")
            ...     )
        """
        raise NotImplementedError
