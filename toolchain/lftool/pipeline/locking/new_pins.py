"""Pins of a lock that is being made: sources, plugins, tools and runtimes. Pins of the old lock are kept.

Steps use it like the pins of a finished lock (`lftool.pipeline.tools.pins`). It pins what is installed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.codec.options import canonical_options
from lftool.errors import UsageError
from lftool.models.lock import Lock, LockedPlugin, LockedRuntime, LockedSource, LockedTool
from lftool.models.recipe import Recipe
from lftool.pipeline.graph.steps import Compile, Convert, Fetch, Quantize
from lftool.pipeline.model.parts import ModelParts
from lftool.pipeline.model.weights import check_part
from lftool.pipeline.pinned import require_pinned_plugin, require_pinned_runtime
from lftool.pipeline.ports import Ports
from lftool.pipeline.sources.fetch import fetch_detail, fetch_locked
from lftool.pipeline.sources.resolve import resolve
from lftool.pipeline.sources.unexpected import check_recognised
from lftool.pipeline.tools.accelerators import accelerators
from lftool.pipeline.tools.archives import resolve_archive, with_archive
from lftool.pipeline.tools.pins import differs
from lftool.pipeline.tools.requests import converter_of, quantizer_of
from lftool.pipeline.tools.runtimes import (
    archive_of,
    compile_runtime,
    frozen_parts,
    locked_compiled,
    locked_runtime,
    runtime_of,
)
from lftool.pipeline.tools.tool import Tool, fingerprint, mixture_of, tool_of

if TYPE_CHECKING:
    from lftool.api import QuantizerType, RuntimeType
    from lftool.host.origin import Origin
    from lftool.host.registry import Registered
    from lftool.models.digest import Artifact, Digest
    from lftool.models.recipe import SourceSpec

ALL = "*"


@frozen(kw_only=True)
class Upgrade:
    """The pins that may move: sources by name, `tool:NAME`, `plugin:NAME`, or all; and which plugins are editable."""

    names: frozenset[str] = frozenset()
    editable: frozenset[str] = frozenset()

    def source(self, name: str) -> bool:
        """Whether the pin of a source may move."""
        return ALL in self.names or name in self.names

    def tool(self, semantics: str, provider: str) -> bool:
        """Whether the fingerprints of a tool may move."""
        return bool({ALL, f"tool:{semantics}", f"tool:{provider}"} & self.names)

    def plugin(self, distribution: str) -> bool:
        """Whether the pin of a plugin may move."""
        return bool({ALL, f"plugin:{distribution}"} & self.names) or distribution in self.editable


@attrs.define
class NewPins:
    """Collects the pins of a new lock, based on the old one. Safe to use from several threads.

    Attributes:
        parts: The parts of the model, once its sources are pinned.
        sources: The sources pinned so far; plugins, tools, runtimes and archives are the same.
    """

    recipe: Recipe
    old: Lock
    upgrade: Upgrade
    ports: Ports
    parts: ModelParts | None = None
    sources: dict[str, LockedSource] = attrs.field(factory=dict)
    plugins: dict[str, LockedPlugin] = attrs.field(factory=dict)
    tools: dict[str, LockedTool] = attrs.field(factory=dict)
    runtimes: dict[str, LockedRuntime] = attrs.field(factory=dict)
    archives: dict[str, LockedSource] = attrs.field(factory=dict)
    _one: threading.RLock = attrs.field(factory=threading.RLock)

    @property
    def lock(self) -> Lock:
        """The pins so far, as far as stages need them."""
        return attrs.evolve(self.old, sources=self.sources, plugins=dict(self.plugins))

    def source(self, name: str, spec: SourceSpec) -> LockedSource:
        """Return the pin of a source: the old one, if the recipe asks for the same source and the pin may not move."""
        old = self.old.sources.get(name)
        request = (spec.uri, spec.include, spec.exclude, canonical_options(spec.options))
        kept = old is not None and (old.uri, old.include, old.exclude, dict(old.options)) == request
        made = old if kept and old is not None and not self.upgrade.source(name) else resolve(spec, name, self.ports)
        self.pin_plugin(self.ports.registry.source(spec.uri.partition(":")[0]).origin)
        self.sources[name] = made
        return made

    def pin_plugin(self, origin: Origin) -> None:
        """Pin a plugin.

        Raises:
            UnavailableError: The old lock pins a different plugin.
        """
        with self._one:
            if origin.is_builtin or origin.distribution in self.plugins:
                return
            if origin.distribution in self.old.plugins and not self.upgrade.plugin(origin.distribution):
                require_pinned_plugin(origin, self.old, self.ports)
            old = self.old.plugins.get(origin.distribution)
            keeps = old is not None and old.editable and not self.upgrade.plugin(origin.distribution)
            if keeps or origin.distribution in self.upgrade.editable:
                self.plugins[origin.distribution] = self._editable(origin)
                return
            installed = LockedPlugin(version=origin.version, sha256=self.ports.registry.digest(origin))
            self.plugins[origin.distribution] = old if old and old.sha256 == installed.sha256 else installed

    def _editable(self, origin: Origin) -> LockedPlugin:
        if not self.ports.registry.is_editable(origin):
            raise UsageError(
                f"plugin {origin.distribution} is not an editable install",
                hints=("install your checkout: pip install -e PATH",),
            )
        return LockedPlugin(version=origin.version, editable=True)

    def fingerprints(self, tool: Tool, use: str) -> LockedTool:
        """Pin the fingerprint of a tool for one use, and return all pins of the tool so far."""
        with self._one:
            return self._fingerprints(tool, use)

    def _fingerprints(self, tool: Tool, use: str) -> LockedTool:
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

    def fetch(self, step: Fetch) -> None:
        """Bring a file into the store, and check that it suits its role.

        Raises:
            FetchError: Its source cannot deliver it.
            FormatError: It is not a valid GGUF, or is not part of any model.
        """
        known = self.old.sources.get(step.source)
        pinned = known is not None and step.file in known.files
        if not self.ports.store.blobs.is_sound(step.file.artifact):
            with self.ports.stage("fetch", step.source, fetch_detail(step.file.path, step.file.size)):
                fetch_locked(self.lock, step.source, step.file, self.ports, pinned=pinned)
        check_recognised(step.source, step.file, self.ports)
        for part in self.parts.by_role.values() if self.parts is not None else ():
            if part.is_gguf and part.files[0].artifact == step.output:
                check_part(part, step.output, self.ports)

    def compile(self, step: Compile) -> None:
        """Pin a compiled runtime. May raise as `compile_runtime` does."""
        made = self._compiled(step.runtime, self.ports.registry.pinned_runtime(step.runtime))
        with self._one:
            self.runtimes[step.runtime] = made

    def converter(self, step: Convert) -> Tool:
        """Return the converter, its plugin and archive pinned."""
        registered = converter_of(step.request, self.ports.registry)
        self.pin_plugin(registered.origin)
        return self.with_archive(tool_of(registered, self.ports))

    def quantizer(self, step: Quantize) -> Tool:
        """Return the quantizer.

        Also pins its plugin, the plugin of the quantizer that chooses its types, and those of its accelerators.
        """
        registered = quantizer_of(step.request, self.ports.registry)
        self.pin_plugin(registered.origin)
        for target in step.targets:
            backend = self.recipe.targets[target].backend
            for other in accelerators(registered.record.name, backend, self.ports):
                self.pin_plugin(other.origin)
        tool = tool_of(registered, self.ports)
        mixture = mixture_of(tool, self.ports)
        if mixture is not None:
            self.pin_plugin(mixture.registered.origin)
        return tool

    def mixture(self, target: str, record: QuantizerType) -> str:
        """Return the rules to choose a target's types by: those of the old lock, unless they may move; else the newest."""
        old = self.old.targets.get(target)
        stage = None if old is None else old.quantize
        kept = stage is not None and not self.upgrade.tool(stage.semantics, record.name)
        if kept and stage is not None and (stage.mixture is None or stage.mixture in record.mixtures):
            return stage.mixture or ""
        return record.mixtures[0] if record.mixtures else ""

    def agree(self, step: Convert | Quantize, tool: Tool, plan: Digest) -> None:
        """Accept any plan, since a lock that is being made names none."""

    def expected(self, step: Convert | Quantize, action: Digest) -> Artifact | None:
        """Return the output of an action in the old lock."""
        if isinstance(step, Convert):
            converted = self.old.convert.get(step.role)
            return converted.output if converted is not None and converted.action == action else None
        return next((made for target in step.targets if (made := self.output(target, action)) is not None), None)

    def output(self, target: str, action: Digest) -> Artifact | None:
        """Return the output of a target's quantize stage in the old lock, if the stage is unchanged."""
        old = self.old.targets.get(target)
        return old.quantize.output if old and old.quantize and old.quantize.action == action else None

    def accept(self, step: Convert | Quantize, action: Digest, made: Artifact) -> None:
        """Raise NotReproducibleError unless the output equals the old one; it may differ if the tool may move."""
        expected = self.expected(step, action)
        find = converter_of if isinstance(step, Convert) else quantizer_of
        record = find(step.request, self.ports.registry).record
        if expected in {None, made} or self.upgrade.tool(record.semantics, record.name):
            return
        assert expected is not None  # noqa: S101 - one line above
        hint = f"to accept the new bytes: lftool lock --upgrade tool:{record.semantics}"
        raise differs(step, expected, made, hint)

    def with_archive(self, tool: Tool) -> Tool:
        """Return a tool with its archive, if it has one, pinned and unpacked."""
        archive, record = tool.identity.archive, tool.registered.record
        if archive is None:
            return tool
        old = self.old.tools.get(record.semantics)
        self.pin_plugin(self.ports.registry.source(archive.uri.partition(":")[0]).origin)
        found = resolve_archive(archive, old.archive if old is not None else None, record.semantics, self.ports)
        self.archives[record.semantics] = found
        return with_archive(tool, found, record.semantics, self.lock, self.ports)

    def runtime(self, target: str) -> Registered[RuntimeType] | None:
        """Return a target's runtime, or None if it needs none; pin its plugin, and the runtime unless compiled."""
        spec = self.recipe.targets[target]
        old = self.old.targets.get(target)
        kept = None if ALL in self.upgrade.names or old is None else old.runtime
        registered = runtime_of(spec, self.ports.registry, kept)
        if registered is None:
            return None
        self.pin_plugin(registered.origin)
        semantics = registered.record.semantics
        if semantics not in self.runtimes and not registered.record.compiled:
            self.runtimes[semantics] = self._frozen(semantics, registered)
        return registered

    def _frozen(self, semantics: str, registered: Registered[RuntimeType]) -> LockedRuntime:
        found, pinned = locked_runtime(frozen_parts(registered)), self.old.runtimes.get(semantics)
        if pinned is not None and not self.upgrade.tool(semantics, registered.record.title):
            require_pinned_runtime(semantics, pinned, found)
        return found

    def _compiled(self, semantics: str, registered: Registered[RuntimeType]) -> LockedRuntime:
        """Return the pin of a compiled runtime; an old pin stays, whatever this machine would compile.

        It moves together with its source archive, which belongs to the plugin.
        """
        old, wanted = self.old.runtimes.get(semantics), archive_of(registered)
        self.pin_plugin(self.ports.registry.source(wanted.uri.partition(":")[0]).origin)
        archive = resolve_archive(wanted, old.archive if old is not None else None, semantics, self.ports)
        if old is not None and old.archive == archive and not self.upgrade.tool(semantics, registered.record.title):
            return old
        return locked_compiled(compile_runtime(registered, archive, self.lock, self.ports), archive)
