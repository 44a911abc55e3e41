"""The pins of a build: the plugins and tools that it may use, and the plans and outputs that it must produce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from lftool.errors import NotReproducibleError, UnavailableError
from lftool.models.lock import LOCK_NAME, Lock
from lftool.pipeline.pinned import require_pinned_plugin
from lftool.pipeline.ports import Ports

if TYPE_CHECKING:
    from lftool.api import TransformType
    from lftool.host.registry import Registered
    from lftool.models.digest import Artifact, Digest
    from lftool.models.lock import LockedTool
    from lftool.pipeline.graph.steps import Compile, Convert, Fetch, Quantize
    from lftool.pipeline.tools.tool import Tool


_HINTS = {
    "convert": "the converter is not deterministic here; please report this",
    "quantize": "what this build made is in the cache;"
    " the tool or the machine differs in a way its fingerprint does not show",
}


class Pins(Protocol):
    """The pins that steps follow. A finished lock has them; a lock that is being made pins what is installed."""

    @property
    def lock(self) -> Lock:
        """The pinned sources and plugins."""

    def fetch(self, step: Fetch) -> None:
        """Bring a file of a source into the store, and check that it is the pinned one."""

    def compile(self, step: Compile) -> None:
        """Bring a compiled runtime into the store."""

    def converter(self, step: Convert) -> Tool:
        """Return the converter."""

    def quantizer(self, step: Quantize) -> Tool:
        """Return the quantizer."""

    def fingerprints(self, tool: Tool, use: str) -> LockedTool:
        """Return the pins of a tool, including the fingerprint for a use."""

    def agree(self, step: Convert | Quantize, tool: Tool, plan: Digest) -> None:
        """Raise NotReproducibleError if a plan is pinned and differs."""

    def expected(self, step: Convert | Quantize, action: Digest) -> Artifact | None:
        """Return the output of an action in the lock; None if the lock does not name it."""

    def accept(self, step: Convert | Quantize, action: Digest, made: Artifact) -> None:
        """Raise NotReproducibleError if the lock names an output and it differs."""


@frozen(kw_only=True)
class LockedPins:
    """The pins of a finished lock."""

    lock: Lock
    ports: Ports

    def fetch(self, step: Fetch) -> None:
        """Bring a file into the store. May raise as `fetch_locked` does."""
        from lftool.pipeline.sources.fetch import fetch_detail, fetch_locked  # noqa: PLC0415 - not needed if stored

        ports, name = self.ports, step.source
        if step.cached and ports.store.blobs.is_sound(step.output):
            with ports.stage("fetch", name, step.file.path, cached=True):
                return
        with ports.stage("fetch", name, fetch_detail(step.file.path, step.file.size)):
            fetch_locked(self.lock, name, step.file, ports, packed=step.packed)

    def compile(self, step: Compile) -> None:
        """Bring a runtime into the store. May raise as `require_compiled` does."""
        from lftool.pipeline.tools.runtimes import require_compiled  # noqa: PLC0415 - most builds compile nothing

        ports = self.ports
        if step.cached and step.executable is not None and ports.store.blobs.is_sound(step.executable):
            with ports.stage("compile", step.runtime, cached=True):
                return
        require_compiled(step.runtime, ports.registry.pinned_runtime(step.runtime), self.lock, ports)

    def _tool(self, registered: Registered[TransformType]) -> Tool:
        from lftool.pipeline.tools.tool import tool_of  # noqa: PLC0415 - as above

        require_pinned_plugin(registered.origin, self.lock, self.ports)
        return tool_of(registered, self.ports)

    def converter(self, step: Convert) -> Tool:
        """Return the converter that the lock names.

        Raises:
            UnavailableError: It is not installed, or differs from the pinned one.
        """
        from lftool.pipeline.tools.archives import with_archive  # noqa: PLC0415 - as above
        from lftool.pipeline.tools.requests import converter_of  # noqa: PLC0415

        tool = self._tool(converter_of(step.request, self.ports.registry))
        semantics = tool.registered.record.semantics
        pinned = self.lock.tools.get(semantics)
        return with_archive(tool, None if pinned is None else pinned.archive, semantics, self.lock, self.ports)

    def quantizer(self, step: Quantize) -> Tool:
        """Return the quantizer that the lock names.

        Raises:
            UnavailableError: It, or the one that chooses its types, is not installed or differs from the pinned one.
        """
        from lftool.pipeline.tools.requests import quantizer_of  # noqa: PLC0415 - as above
        from lftool.pipeline.tools.tool import mixture_of  # noqa: PLC0415

        tool = self._tool(quantizer_of(step.request, self.ports.registry))
        mixture = mixture_of(tool, self.ports)
        if mixture is not None:
            require_pinned_plugin(mixture.registered.origin, self.lock, self.ports)
        return tool

    def fingerprints(self, tool: Tool, use: str) -> LockedTool:
        """Return the pins of a tool.

        Raises:
            UnavailableError: The lock has no fingerprint of its arithmetic.
        """
        record = tool.registered.record
        pinned = self.lock.tools.get(record.semantics)
        if pinned is None or use not in pinned.fingerprints:
            raise UnavailableError(
                f"{record.name} {tool.identity.version} has the arithmetic {record.semantics},"
                f" but {LOCK_NAME} pins no fingerprint of it for {use}",
                hints=(f"accept it: lftool lock --upgrade tool:{record.name}",),
            )
        return pinned

    def agree(self, step: Convert | Quantize, tool: Tool, plan: Digest) -> None:
        """Raise NotReproducibleError unless the plan is the one that the lock names."""
        if step.locked is not None and plan != step.locked.plan:
            raise NotReproducibleError(
                f"{step.what}: the lock names plan {step.locked.plan}, the tool plans {plan}",
                hints=(f"lock again: lftool lock --upgrade tool:{tool.registered.record.semantics}",),
            )

    def expected(self, step: Convert | Quantize, action: Digest) -> Artifact | None:
        """Return the output that the lock names."""
        return None if step.locked is None or step.locked.action != action else step.locked.output

    def accept(self, step: Convert | Quantize, action: Digest, made: Artifact) -> None:
        """Raise NotReproducibleError unless the output is the one that the lock names."""
        expected = self.expected(step, action)
        if expected is not None and made != expected:
            raise differs(step, expected, made, _HINTS[step.stage])


def differs(step: Convert | Quantize, expected: Artifact, made: Artifact, hint: str) -> NotReproducibleError:
    """Return the error for a step whose output differs from the lock."""
    return NotReproducibleError(
        f"{step.what}: the lock names sha256 {expected.sha256} ({expected.size} bytes),"
        f" this build made sha256 {made.sha256} ({made.size} bytes)",
        hints=(hint,),
    )
