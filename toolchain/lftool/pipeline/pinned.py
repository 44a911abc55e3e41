"""Whether what is installed is what the lock pins: plugins and runtimes; otherwise it cannot be done here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lftool.errors import LftoolError, LockError, RecipeError, UnavailableError
from lftool.models.lock import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    if pinned.editable:
        if not ports.registry.is_editable(origin):
            raise UnavailableError(
                f"plugin {origin.distribution}: the lock pins an editable install, and the installed one is none",
                hints=(
                    "install your checkout: pip install -e PATH",
                    f"or pin the installed one: lftool lock --upgrade plugin:{origin.distribution}",
                ),
            )
        return
    installed = ports.registry.digest(origin)
    if pinned.sha256 != installed:
        raise UnavailableError(
            f"plugin {origin.distribution}: the lock pins version {pinned.version} (sha256 {pinned.sha256}),"
            f" installed is {origin.version} (sha256 {installed})",
            hints=(
                f"install that: pip install {origin.distribution}=={pinned.version}"
                if pinned.version != origin.version
                else f"while you write it: lftool lock --editable {origin.distribution}, with pip install -e",
                f"or accept the installed one: lftool lock --upgrade plugin:{origin.distribution}",
            ),
        )


def require_plugins(requirements: Mapping[str, str]) -> None:
    """Return if the plugins that a recipe asks for are installed; nothing is imported.

    Args:
        requirements: Distribution to versions that will do (Python packaging user guide, version specifiers).

    Raises:
        RecipeError: What stands there is no version specifier.
        UnavailableError: One is missing, or of another version.
    """
    if not requirements:
        return
    from importlib import metadata  # noqa: PLC0415 - most recipes ask for none

    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415 - as above

    for name, versions in sorted(requirements.items()):
        try:
            wanted = SpecifierSet(versions)
        except InvalidSpecifier:
            raise RecipeError(
                f"plugins.{name}: {versions!r} names no versions", hints=('such as ">=0.2,<0.3"; "" for any',)
            ) from None
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = None
        if installed is None or not wanted.contains(installed, prereleases=True):
            what = "is not installed" if installed is None else f"is installed as {installed}"
            raise UnavailableError(
                f"the recipe asks for the plugin {name} {versions or 'of any version'}, which {what}",
                hints=(f"pip install '{name}{versions}'",),
            )


def missing_plugins(lock: Lock) -> list[str]:
    """Return what to say of plugins that a lock pins and that are not installed; nothing is imported."""
    from importlib import metadata  # noqa: PLC0415 - most builds fail of nothing

    found = []
    for name, pinned in sorted(lock.plugins.items()):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(f"the lock needs {name} {pinned.version}: pip install {name}=={pinned.version}")
    return found


@contextlib.contextmanager
def naming_missing_plugins(lock: Lock) -> Iterator[None]:
    """Have errors inside the block say which plugins of a lock are not installed: that may be why.

    Raises:
        LftoolError: What the block raised, with hints.
    """
    try:
        yield
    except LftoolError as error:
        error.hints = (*missing_plugins(lock), *error.hints)
        raise


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
