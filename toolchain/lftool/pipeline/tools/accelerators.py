"""Quantizers that replace another one on some device; chosen if available and if they produce the locked bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import Notice, QuantizerType
from lftool.errors import LftoolError, UnavailableError
from lftool.pipeline.pinned import require_pinned_plugin
from lftool.pipeline.tools.tool import Tool, fingerprint, tool_of
from lftool.pipeline.uses import parse_use

if TYPE_CHECKING:
    from lftool.host.registry import Registered
    from lftool.models.digest import Digest
    from lftool.models.lock import Lock
    from lftool.pipeline.ports import Ports


def accelerators(quantizer: str, backend: str, ports: Ports) -> list[Registered[QuantizerType]]:
    """Return the installed quantizers that may replace `quantizer` for targets of `backend`."""
    found = ports.registry.all(QuantizerType)
    return [item for item in found if (item.record.accelerates, item.record.backend) == (quantizer, backend)]


def accelerated(tool: Tool, backend: str, use: str, expected: Digest, lock: Lock, ports: Ports) -> Tool:
    """Return the tool that runs a quantisation: a pinned, usable accelerator of `tool`, or else `tool`.

    Args:
        tool: The quantizer that the lock names.
        backend: Backend of the target.
        use: The fingerprint that the target depends on.
        expected: The value of that fingerprint.
        lock: Pins of plugins.
        ports: Store and registry; receives the reason for falling back to the processor.
    """
    for registered in accelerators(tool.registered.record.name, backend, ports):
        name = registered.record.name
        if parse_use(use).produces not in registered.record.produces:
            continue
        try:
            if registered.origin.distribution not in lock.plugins:
                raise UnavailableError("the lock does not pin its plugin; run `lftool lock` where it is installed")
            require_pinned_plugin(registered.origin, lock, ports)
            found = tool_of(registered, ports)
            if fingerprint(found, use, ports) == expected:
                return found
            why = f"it does not reproduce {tool.registered.record.semantics} for {use} on this device"
        except LftoolError as error:  # a missing device or a failing driver: the processor gives the same result
            why = error.message.splitlines()[0]
        ports.emit(Notice(text=f"quantising without {name!r}: {why}", warning=True))
    return tool
