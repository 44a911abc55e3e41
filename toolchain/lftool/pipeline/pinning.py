"""Pins of a lock in the making: sources, plugins, tools and runtimes; kept where the old lock has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.codec.options import canonical_options
from lftool.models.lock import Lock, LockedPlugin, LockedRuntime, LockedSource, LockedTool
from lftool.models.recipe import Recipe
from lftool.pipeline.archives import resolve_archive, with_archive
from lftool.pipeline.pins import require_pinned_plugin, require_pinned_runtime
from lftool.pipeline.ports import Ports
from lftool.pipeline.runtimes import (
    archive_of,
    compile_runtime,
    frozen_parts,
    locked_compiled,
    locked_runtime,
    runtime_of,
)
from lftool.pipeline.stages.resolve import resolve
from lftool.pipeline.tools import Tool, fingerprint

if TYPE_CHECKING:
    from lftool.api import RuntimeType
    from lftool.host.origin import Origin
    from lftool.host.registry import Registered
    from lftool.models.recipe import SourceSpec

ALL = "*"


@frozen(kw_only=True)
class Upgrade:
    """What may move: names of sources, `tool:NAME`, `plugin:NAME`, or everything."""

    names: frozenset[str] = frozenset()

    def source(self, name: str) -> bool:
        """Whether the pin of a source may move."""
        return ALL in self.names or name in self.names

    def tool(self, semantics: str, provider: str) -> bool:
        """Whether the fingerprints of a tool may move."""
        return bool({ALL, f"tool:{semantics}", f"tool:{provider}"} & self.names)

    def plugin(self, distribution: str) -> bool:
        """Whether the pin of a plugin may move."""
        return bool({ALL, f"plugin:{distribution}"} & self.names)


@attrs.define
class Pins:
    """Collects the pins of a new lock, consulting the old one."""

    recipe: Recipe
    old: Lock
    upgrade: Upgrade
    ports: Ports
    plugins: dict[str, LockedPlugin] = attrs.field(factory=dict)
    tools: dict[str, LockedTool] = attrs.field(factory=dict)
    runtimes: dict[str, LockedRuntime] = attrs.field(factory=dict)
    archives: dict[str, LockedSource] = attrs.field(factory=dict)

    def source(self, name: str, spec: SourceSpec) -> LockedSource:
        """Return the pin of a source: the old one, if the recipe asks for the same and it may not move."""
        old = self.old.sources.get(name)
        request = (spec.uri, spec.include, spec.exclude, canonical_options(spec.options))
        kept = old is not None and (old.uri, old.include, old.exclude, dict(old.options)) == request
        made = old if kept and old is not None and not self.upgrade.source(name) else resolve(spec, name, self.ports)
        self.pin_plugin(self.ports.registry.source(spec.uri.partition(":")[0]).origin)
        return made

    def pin_plugin(self, origin: Origin) -> None:
        """Pin a plugin.

        Raises:
            UnavailableError: The old lock pins another one.
        """
        if origin.is_builtin or origin.distribution in self.plugins:
            return
        if origin.distribution in self.old.plugins and not self.upgrade.plugin(origin.distribution):
            require_pinned_plugin(origin, self.old, self.ports)
        old = self.old.plugins.get(origin.distribution)
        installed = LockedPlugin(version=origin.version, sha256=self.ports.registry.digest(origin))
        self.plugins[origin.distribution] = old if old and old.sha256 == installed.sha256 else installed

    def pin_tool(self, tool: Tool, use: str) -> LockedTool:
        """Pin the fingerprint of a tool for one use, and return all of its pins so far."""
        record = tool.registered.record
        old = self.old.tools.get(record.semantics)
        so_far = self.tools.get(record.semantics)
        pinned = None
        if old is not None and not self.upgrade.tool(record.semantics, record.name):
            pinned = old.fingerprints.get(use)
        prints = dict(so_far.fingerprints) if so_far else {}
        prints[use] = pinned or fingerprint(tool, use, self.ports)
        providers = dict(so_far.providers) if so_far else {}
        kept = old.providers.get(record.name) if pinned and old is not None else None
        providers[record.name] = kept or tool.identity.version
        archive = self.archives.get(record.semantics)
        made = LockedTool(providers=providers, archive=archive, fingerprints=prints)
        self.tools[record.semantics] = made
        return made

    def with_archive(self, tool: Tool) -> Tool:
        """Return a tool with the archive that it comes in, if any, pinned and unpacked."""
        archive, record = tool.identity.archive, tool.registered.record
        if archive is None:
            return tool
        old = self.old.tools.get(record.semantics)
        self.pin_plugin(self.ports.registry.source(archive.uri.partition(":")[0]).origin)
        found = resolve_archive(archive, old.archive if old is not None else None, record.semantics, self.ports)
        self.archives[record.semantics] = found
        pinned = attrs.evolve(self.old, plugins=self.plugins)
        return with_archive(tool, found, record.semantics, pinned, self.ports)

    def runtime(self, target: str) -> str | None:
        """Pin the runtime of a target and return its name and number; None when it needs none."""
        spec = self.recipe.targets[target]
        old = self.old.targets.get(target)
        kept = None if ALL in self.upgrade.names or old is None else old.runtime
        registered = runtime_of(spec, self.ports.registry, kept)
        if registered is None:
            return None
        self.pin_plugin(registered.origin)
        semantics = registered.record.semantics
        if semantics not in self.runtimes:
            pin = self._compiled if registered.record.compiled else self._frozen
            self.runtimes[semantics] = pin(semantics, registered)
        return semantics

    def _frozen(self, semantics: str, registered: Registered[RuntimeType]) -> LockedRuntime:
        found, pinned = locked_runtime(frozen_parts(registered)), self.old.runtimes.get(semantics)
        if pinned is not None and not self.upgrade.tool(semantics, registered.record.title):
            require_pinned_runtime(semantics, pinned, found)
        return found

    def _compiled(self, semantics: str, registered: Registered[RuntimeType]) -> LockedRuntime:
        """Return the pin of a compiled runtime; what an old lock names stays, whatever this machine would compile.

        It moves with the archive of its sources, which is the plugin's.
        """
        old, wanted = self.old.runtimes.get(semantics), archive_of(registered)
        self.pin_plugin(self.ports.registry.source(wanted.uri.partition(":")[0]).origin)
        archive = resolve_archive(wanted, old.archive if old is not None else None, semantics, self.ports)
        if old is not None and old.archive == archive and not self.upgrade.tool(semantics, registered.record.title):
            return old
        pinned = attrs.evolve(self.old, plugins=self.plugins)
        return locked_compiled(compile_runtime(registered, archive, pinned, self.ports), archive)
