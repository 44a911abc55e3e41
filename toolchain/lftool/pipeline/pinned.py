"""Check that the installed plugins and runtimes are those that the lock pins."""

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
    """Return if the installed plugin is the one that the lock pins; built-in plugins are not pinned.

    Raises:
        LockError: The lock does not pin the plugin.
        UnavailableError: The lock pins a different version.
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
                f"plugin {origin.distribution}: the lock pins an editable install, the installed one is not editable",
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
    """Return if the plugins that a recipe requires are installed; imports nothing.

    Args:
        requirements: Distribution to accepted versions (Python packaging user guide, version specifiers).

    Raises:
        RecipeError: A value is not a version specifier.
        UnavailableError: A plugin is missing, or its version is not accepted.
    """
    if not requirements:
        return
    from importlib import metadata  # noqa: PLC0415 - most recipes require none

    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415 - as above

    for name, versions in sorted(requirements.items()):
        try:
            wanted = SpecifierSet(versions)
        except InvalidSpecifier:
            raise RecipeError(
                f"plugins.{name}: {versions!r} is not a version specifier", hints=('such as ">=0.2,<0.3"; "" for any',)
            ) from None
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = None
        if installed is None or not wanted.contains(installed, prereleases=True):
            what = "is not installed" if installed is None else f"is installed as {installed}"
            raise UnavailableError(
                f"the recipe needs the plugin {name} {versions or 'of any version'}, which {what}",
                hints=(f"pip install '{name}{versions}'",),
            )


def missing_plugins(lock: Lock) -> list[str]:
    """Return messages about plugins that a lock pins and that are not installed; imports nothing."""
    from importlib import metadata  # noqa: PLC0415 - most builds do not fail

    found = []
    for name, pinned in sorted(lock.plugins.items()):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(f"the lock needs {name} {pinned.version}: pip install {name}=={pinned.version}")
    return found


@contextlib.contextmanager
def naming_missing_plugins(lock: Lock) -> Iterator[None]:
    """Make errors in the block name the lock's plugins that are not installed, since that may be the cause.

    Raises:
        LftoolError: The block's error, with added hints.
    """
    try:
        yield
    except LftoolError as error:
        error.hints = (*missing_plugins(lock), *error.hints)
        raise


def require_pinned_runtime(name: str, pinned: LockedRuntime, found: LockedRuntime) -> None:
    """Raise UnavailableError unless the installed frozen runtime is the one that the lock pins."""
    if pinned != found:
        raise UnavailableError(
            f"runtime {name}: the lock pins sha256 {pinned.sha256}, installed is {found.sha256}",
            hints=(
                "install the lftool or plugin that the lock was made with",
                f"or accept the installed one: lftool lock --upgrade tool:{name}",
            ),
        )
