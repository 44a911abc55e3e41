"""Whether what is installed is what the lock pins: plugins and runtimes; otherwise it cannot be done here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import UnavailableError

if TYPE_CHECKING:
    from lftool.host.origin import Origin
    from lftool.models.lock import Lock, LockedRuntime
    from lftool.pipeline.ports import Ports


def require_pinned_plugin(origin: Origin, lock: Lock, ports: Ports) -> None:
    """Raise UnavailableError unless the installed plugin is the one that the lock pins; built-ins are not pinned."""
    pinned = lock.plugins.get(origin.distribution)
    if origin.is_builtin or pinned is None:
        return
    installed = ports.registry.digest(origin)
    if pinned.sha256 != installed:
        raise UnavailableError(
            f"plugin {origin.distribution}: the lock pins version {pinned.version} (sha256 {pinned.sha256}),"
            f" installed is {origin.version} (sha256 {installed})",
            hints=(
                f"install {origin.distribution} {pinned.version}",
                f"or accept the installed one: lftool lock --upgrade plugin:{origin.distribution}",
            ),
        )


def require_pinned_runtime(name: str, pinned: LockedRuntime, found: LockedRuntime) -> None:
    """Raise UnavailableError unless the installed runtime is the frozen one that the lock pins."""
    if pinned != found:
        raise UnavailableError(
            f"runtime {name}: the lock pins sha256 {pinned.sha256}, installed is {found.sha256}",
            hints=(
                "install the lftool or plugin that the lock was made with",
                "or accept the installed one: lftool lock --upgrade",
            ),
        )
