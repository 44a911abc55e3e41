"""The hooks. Each yields records of one type; the core asks for them by name and runs the stages itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from lftool.api.records import (
    BackendType,
    CommandType,
    ConverterType,
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
    "lftool_commands": CommandType,
}


class Hooks:
    """The hook specifications; an implementation is a module-level function of the same name with `@hookimpl`."""

    @hookspec
    def lftool_sources(self) -> Iterable[SourceType]:
        """Yield sources.

        Example:
            >>> from lftool.api import SourceType, hookimpl
            >>> @hookimpl
            ... def lftool_sources():
            ...     yield SourceType(name="mem", summary="files in memory", schemes=("mem",), factory=lambda context: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_remote_stores(self) -> Iterable[RemoteStoreType]:
        """Yield kinds of remote stores.

        Example:
            >>> from lftool.api import RemoteStoreType, hookimpl
            >>> @hookimpl
            ... def lftool_remote_stores():
            ...     yield RemoteStoreType(name="dav", summary="WebDAV", schemes=("dav",), factory=lambda context: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_converters(self) -> Iterable[ConverterType]:
        """Yield converters.

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
        """Yield quantizers.

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
        """Yield backends.

        Example:
            >>> from lftool.api import BackendType, hookimpl
            >>> @hookimpl
            ... def lftool_backends():
            ...     yield BackendType(name="npu", summary="runs on an NPU", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_layouts(self) -> Iterable[LayoutType]:
        """Yield layouts.

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
        """Yield runtimes.

        Example:
            >>> from lftool.api import RuntimeType, hookimpl
            >>> @hookimpl
            ... def lftool_runtimes():
            ...     yield RuntimeType(name="tiny", number=1, summary="a shell script", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_signers(self) -> Iterable[SignerType]:
        """Yield signers.

        Example:
            >>> from lftool.api import SignerType, hookimpl
            >>> @hookimpl
            ... def lftool_signers():
            ...     yield SignerType(name="kms", summary="a key in a KMS", schemes=("kms",), factory=lambda context: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_verifiers(self) -> Iterable[VerifierType]:
        """Yield verifiers.

        Example:
            >>> from lftool.api import VerifierType, hookimpl
            >>> @hookimpl
            ... def lftool_verifiers():
            ...     yield VerifierType(name="ed25519", summary="Ed25519", factory=lambda: ...)
        """
        raise NotImplementedError

    @hookspec
    def lftool_observers(self) -> Iterable[ObserverType]:
        """Yield observers.

        Example:
            >>> from lftool.api import ObserverType, hookimpl
            >>> @hookimpl
            ... def lftool_observers():
            ...     yield ObserverType(name="count", summary="counts events", factory=lambda: print)
        """
        raise NotImplementedError

    @hookspec
    def lftool_commands(self) -> Iterable[CommandType]:
        """Yield commands. Plugins are asked when somebody types a command that lftool does not have.

        Example:
            >>> from lftool.api import CommandType, hookimpl
            >>> @hookimpl
            ... def lftool_commands():
            ...     yield CommandType(name="publish", summary="put bundles on our shelf", factory=lambda: ...)
        """
        raise NotImplementedError
