"""Whether what is installed is what the lock pins: plugins and runtimes; otherwise it cannot be done here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import LockError, UnavailableError
from lftool.models.lock import LOCK_NAME

if TYPE_CHECKING:
    from lftool.host.origin import Origin
    from lftool.models.lock import Lock, LockedRuntime
    from lftool.pipeline.ports import Ports


def require_pinned_plugin(origin: Origin, lock: Lock, ports: Ports) -> None:
    """Return if the installed plugin is the one that the lock pins; built-ins are not pinned.

    Raises:
        LockError: The lock does not pin the plugin.
        UnavailableError: It pins another one.
    """
    if origin.is_builtin:
        return
    pinned = lock.plugins.get(origin.distribution)
    if pinned is None:
        raise LockError(
            f"{LOCK_NAME} pins no plugin {origin.distribution}, which this build needs",
            hints=("pin it: lftool lock",),
        )
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
                f"or accept the installed one: lftool lock --upgrade tool:{name}",
            ),
        )
