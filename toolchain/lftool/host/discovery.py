"""Find and load plugins in a fixed order; a failure is attributed to its plugin and does not affect the others.

pluggy's `load_setuptools_entrypoints` walks distributions in file-system order, silently drops a second one with the
same entry-point name, lets one broken import end the process, and accepts misspelt hooks; so lftool does it itself.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import os
import sys
import threading
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import pluggy
from attrs import frozen

from lftool import __version__
from lftool.api import HOOKS, LFTOOL_API_VERSION, ConfigurableRecord, DestinationType, ExporterType
from lftool.api.hookspecs import Hooks
from lftool.errors import PluginError
from lftool.host.guarding import awaited, not_ending
from lftool.host.option_types import check_options
from lftool.host.origin import CORE, Origin

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

GROUP = "lftool"
ALLOW_LIST = "LFTOOL_PLUGINS"
BUILTIN = "lftool.builtin"
_HEAD = ("Name", "Version")  # fields of METADATA (core metadata specifications) without continuation lines

# Major API version that a plugin was written for, to what its author has to change.
_MOVED = {
    1: "API 2.0 needs ToolArchive(sha256=...), CompiledRuntime.toolchain(), and sources that ask SourceContext.credentials"
    " for credentials (lftool help plugin-api)"
}

Status = Literal["active", "blocked", "failed", "incompatible"]


@frozen(kw_only=True)
class Plugin:
    """A plugin that was found, usable or not; `failure` is its exception with the traceback."""

    origin: Origin
    status: Status
    reason: str = ""
    records: tuple[tuple[str, Any], ...] = ()
    distribution: metadata.Distribution | None = None
    failure: BaseException | None = None


def allowed_plugins() -> frozenset[str] | None:
    """Return the names of the plugins that the user allows; None for all."""
    text = os.environ.get(ALLOW_LIST)
    return None if text is None else frozenset(name.strip() for name in text.split(",") if name.strip())


def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    """Return name and version from the start of the metadata; all of it would need a mail parser, for milliseconds."""
    found: dict[str, str] = {}
    for line in (distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or "").splitlines():
        key, _, value = line.partition(": ")
        if not line or len(found) == len(_HEAD):
            break
        if key in _HEAD:
            found[key] = value.strip()
    if len(found) < len(_HEAD):
        return distribution.name, distribution.version
    return found["Name"], found["Version"]


def _entry_points() -> list[tuple[Origin, metadata.EntryPoint, metadata.Distribution]]:
    found = []
    for distribution in metadata.distributions():
        if f"[{GROUP}]" not in (distribution.read_text("entry_points.txt") or ""):
            continue  # parsing the lists of a hundred packages takes longer than reading them
        name, version = _name_and_version(distribution)
        for entry in distribution.entry_points:
            if entry.group == GROUP:
                origin = Origin(
                    distribution=name,
                    version=version,
                    entry_point=entry.name,
                    module=entry.module,
                    site=str(distribution.locate_file("")),
                )
                found.append((origin, entry, distribution))
    found.sort(key=lambda item: (item[0].distribution, item[0].entry_point, item[0].module))
    unique: list[tuple[Origin, metadata.EntryPoint, metadata.Distribution]] = []
    for item in found:  # twice on sys.path: Python imports the first
        if not unique or unique[-1][0] != item[0]:
            unique.append(item)
    return unique


def _check_duplicates(entries: Iterable[tuple[Origin, metadata.EntryPoint, metadata.Distribution]]) -> None:
    seen: dict[str, Origin] = {}
    for origin, _, _ in entries:
        first = seen.setdefault(origin.entry_point, origin)
        if first is not origin:
            raise PluginError(
                f"two plugins are called {origin.entry_point!r}: {first.distribution} {first.version}"
                f" and {origin.distribution} {origin.version}",
                hints=("uninstall one of them", f"or name the ones to load in {ALLOW_LIST}"),
            )


def _materialise(module: ModuleType, name: str) -> tuple[tuple[str, Any], ...]:
    """Call every hook of `module` and check what it yields; the caller attributes errors."""
    with _one_at_a_time:
        manager = _manager()
        try:
            manager.register(module, name=name)
            return _records(manager, module)
        finally:
            _unregister(manager, name)


_one_at_a_time = threading.RLock()


@functools.cache
def _manager() -> pluggy.PluginManager:
    """Return the manager that all plugins use, one after the other, since reading the specifications takes a while."""
    manager = pluggy.PluginManager("lftool")
    manager.add_hookspecs(Hooks)
    return manager


def _unregister(manager: pluggy.PluginManager, name: str) -> None:
    """Unregister a plugin, whatever state it is in, so that the next one does not see it."""
    try:
        manager.unregister(name=name)
    except Exception:  # noqa: BLE001 - half registered: the next plugin gets a new manager
        _manager.cache_clear()


def _records(manager: pluggy.PluginManager, module: ModuleType) -> tuple[tuple[str, Any], ...]:
    for attribute in dir(module):
        marked = getattr(getattr(module, attribute, None), "lftool_impl", None)
        if marked is not None and (marked.get("wrapper") or marked.get("hookwrapper")):
            raise TypeError(f"{attribute} is a wrapper; registration hooks yield records and wrap nothing")
        if marked is None and attribute in HOOKS and callable(getattr(module, attribute)):
            raise TypeError(f"{attribute} is not marked with @hookimpl, so nothing would call it")
        if marked is not None and attribute not in HOOKS:
            close = difflib.get_close_matches(attribute, HOOKS, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else f"; the hooks are {', '.join(sorted(HOOKS))}"
            raise TypeError(f"{attribute!r} is not a hook{meant}")
    manager.check_pending()
    records: list[tuple[str, Any]] = []
    for hook, kind in HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            for record in implementation.function():
                if not isinstance(record, kind):
                    raise TypeError(f"{hook} yielded {type(record).__name__}, not {kind.__name__}")
                if isinstance(record, ConfigurableRecord) and isinstance(record.options, type):
                    check_options(record.options, typed=isinstance(record, ExporterType | DestinationType))
                records.append((hook, record))
    return tuple(records)


def _incompatible(module: ModuleType) -> str:
    wanted = getattr(module, "LFTOOL_API", None)
    if not (
        isinstance(wanted, tuple) and len(wanted) == len(LFTOOL_API_VERSION) and all(type(n) is int for n in wanted)
    ):
        return f"it does not set LFTOOL_API = {LFTOOL_API_VERSION}"
    if wanted[0] != LFTOOL_API_VERSION[0] or wanted > LFTOOL_API_VERSION:
        told = f"it is written for API {wanted[0]}.{wanted[1]}, this lftool has {LFTOOL_API_VERSION[0]}.{LFTOOL_API_VERSION[1]}"
        return f"{told}; {_MOVED[wanted[0]]}" if wanted[0] in _MOVED else told
    return ""


def load(origin: Origin, distribution: metadata.Distribution | None) -> Plugin:
    """Import one plugin and collect its records; a failure becomes part of the result."""
    try:
        with (
            not_ending(),
            contextlib.redirect_stdout(sys.stderr),  # a plugin's output must not mix with a report
            awaited(origin, "importing") if distribution is not None else contextlib.nullcontext(),
        ):
            module = importlib.import_module(origin.module)
        reason = _incompatible(module)
        if reason:
            return Plugin(origin=origin, status="incompatible", reason=reason, distribution=distribution)
        with not_ending(), contextlib.redirect_stdout(sys.stderr):
            records = _materialise(module, f"{origin.distribution}:{origin.entry_point}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises is recorded as its failure
        reason = f"{type(error).__name__}: {error}"
        return Plugin(origin=origin, status="failed", reason=reason, distribution=distribution, failure=error)
    return Plugin(origin=origin, status="active", records=records, distribution=distribution)


def builtin_plugin() -> Plugin:
    """Load the built-in plugins.

    Raises:
        PluginError: They are broken, so the installation is broken.
    """
    origin = Origin(distribution=CORE, version=__version__, entry_point="builtin", module=BUILTIN)
    plugin = load(origin, None)
    if plugin.status != "active":
        raise PluginError(f"{origin}: {plugin.reason}")
    return plugin


def discover(*, third_party: bool = True, only: frozenset[str] | None = None) -> tuple[Plugin, ...]:
    """Return the built-in plugin and, by default, every installed one, ordered by distribution and name.

    Args:
        third_party: Whether to look at installed distributions.
        only: Entry-point names; nothing else is imported. Defaults to the allow list, or everything.

    Raises:
        PluginError: Two plugins share an entry-point name.
    """
    found = [builtin_plugin()]
    if third_party:
        allowed = allowed_plugins() if only is None else only
        entries = _entry_points()
        chosen = [entry for entry in entries if allowed is None or entry[0].entry_point in allowed]
        _check_duplicates(chosen)
        for origin, _, distribution in entries:
            if allowed is not None and origin.entry_point not in allowed:
                reason = f"not in {ALLOW_LIST}" if allowed else f"left out by --no-plugins, or an empty {ALLOW_LIST}"
                found.append(Plugin(origin=origin, status="blocked", reason=reason, distribution=distribution))
            else:
                found.append(load(origin, distribution))
    return tuple(found)
