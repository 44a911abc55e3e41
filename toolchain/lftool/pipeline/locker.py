"""Make a lock: pin what is new, keep what still fits, move only what was asked to move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.api import LayoutType
from lftool.codec.locks import locked_recipe
from lftool.codec.options import canonical_options
from lftool.codec.recipes import recipe_digest, slice_recipe
from lftool.errors import RecipeError, UsageError
from lftool.host.guarding import guarded
from lftool.models.lock import (
    Lock,
    LockedConvert,
    LockedPack,
    LockedPlugin,
    LockedQuantize,
    LockedRuntime,
    LockedSource,
    LockedTarget,
    LockedTool,
)
from lftool.models.recipe import Recipe
from lftool.pipeline.archives import resolve_archive, with_archive
from lftool.pipeline.identity import pack_action, plan_digest, runtime_digest, transform_action, use_of
from lftool.pipeline.overrides import check_overrides
from lftool.pipeline.pins import require_pinned_plugin, require_pinned_runtime
from lftool.pipeline.ports import Ports
from lftool.pipeline.selection import needed_files, weights_artifact
from lftool.pipeline.stages.convert import ROLE, differs, run_conversion
from lftool.pipeline.stages.fetch import fetch_locked
from lftool.pipeline.stages.pack import runtime_name
from lftool.pipeline.stages.resolve import resolve
from lftool.pipeline.tasks import Conversion, conversion, quantization, weights_header
from lftool.pipeline.tools import Tool, fingerprint, mixture_of, plan_transform, require_pinned_fingerprint, tool_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from lftool.host.origin import Origin
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


def check_upgrade(names: Collection[str], recipe: Recipe, lock: Lock) -> Upgrade:
    """Return the upgrade that `names` mean.

    Raises:
        UsageError: A name that is neither a source, nor a tool or plugin of the lock.
    """
    tools = {f"tool:{name}" for name in lock.tools} | {
        f"tool:{name}" for item in lock.tools.values() for name in item.providers
    }
    valid = set(recipe.sources) | tools | {f"plugin:{name}" for name in lock.plugins}
    unknown = sorted(set(names) - valid - {ALL})
    if unknown:
        raise UsageError(f"nothing called {unknown[0]!r} to upgrade; valid: {', '.join(sorted(valid))}")
    return Upgrade(names=frozenset(names))


def empty_lock(recipe: Recipe) -> Lock:
    """Return a lock of `recipe` that pins nothing yet."""
    return Lock(recipe=locked_recipe(recipe), sources={}, targets={})


@attrs.define
class _Locker:
    """Collects the parts of a new lock, consulting the old one."""

    recipe: Recipe
    old: Lock
    upgrade: Upgrade
    ports: Ports
    plugins: dict[str, LockedPlugin] = attrs.field(factory=dict)
    tools: dict[str, LockedTool] = attrs.field(factory=dict)
    runtimes: dict[str, LockedRuntime] = attrs.field(factory=dict)
    archives: dict[str, LockedSource] = attrs.field(factory=dict)

    def source(self, name: str, spec: SourceSpec) -> LockedSource:
        old = self.old.sources.get(name)
        request = (spec.uri, spec.include, spec.exclude, canonical_options(spec.options))
        kept = old is not None and (old.uri, old.include, old.exclude, dict(old.options)) == request
        made = old if kept and old is not None and not self.upgrade.source(name) else resolve(spec, name, self.ports)
        self.pin_plugin(self.ports.registry.source(spec.uri.partition(":")[0]).origin)
        return made

    def pin_plugin(self, origin: Origin) -> None:
        if origin.is_builtin or origin.distribution in self.plugins:
            return
        if origin.distribution in self.old.plugins and not self.upgrade.plugin(origin.distribution):
            require_pinned_plugin(origin, self.old, self.ports)
        old = self.old.plugins.get(origin.distribution)
        installed = LockedPlugin(version=origin.version, sha256=self.ports.registry.digest(origin))
        self.plugins[origin.distribution] = old if old and old.sha256 == installed.sha256 else installed

    def pin_tool(self, tool: Tool, use: str) -> LockedTool:
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
        kept = old.archive if old is not None and not self.upgrade.tool(record.semantics, record.name) else None
        if kept is None:
            kept = resolve_archive(archive, record.semantics, self.ports)
        self.archives[record.semantics] = kept
        self.pin_plugin(self.ports.registry.source(archive.uri.partition(":")[0]).origin)
        pinned = attrs.evolve(self.old, plugins=self.plugins)
        return with_archive(tool, kept, record.semantics, pinned, self.ports)

    def convert(self, wanted: Conversion | None) -> Mapping[str, LockedConvert]:
        """Return how the weights become one GGUF, doing it if need be: the rest of the lock depends on the result."""
        if wanted is None:
            return {}
        record = wanted.registered.record
        self.pin_plugin(wanted.registered.origin)
        tool = self.with_archive(tool_of(wanted.registered, self.ports))
        plan = plan_transform(tool, wanted.spec, {}, wanted.inputs, self.ports)
        use = wanted.spec.produces
        locked_tool, digest = self.pin_tool(tool, use), plan_digest(plan)
        action = transform_action("convert", wanted.inputs, record.semantics, use, locked_tool, digest)
        old = self.old.convert.get(ROLE)
        if old is not None and old.action == action and self.ports.store.blobs.is_sound(old.output):
            made = old.output
        else:
            require_pinned_fingerprint(tool, record.semantics, use, locked_tool, self.ports)
            made = run_conversion(wanted, tool, plan, self.ports.threads, self.ports)
            moves = self.upgrade.tool(record.semantics, record.name)
            if old is not None and old.action == action and old.output != made and not moves:
                raise differs(
                    old.output, made, f"if the new bytes are wanted: lftool lock --upgrade tool:{record.semantics}"
                )
        return {
            ROLE: LockedConvert(
                semantics=record.semantics,
                uses=use,
                converter_name=record.name,
                plan=digest,
                action=action,
                sha256=made.sha256,
                size=made.size,
            )
        }

    def quantize(self, target: str, pinned: Lock) -> LockedQuantize:
        wanted = quantization(self.recipe, pinned, target, self.ports)
        self.pin_plugin(wanted.registered.origin)
        tool = tool_of(wanted.registered, self.ports)
        mixture = mixture_of(tool, self.ports)
        if mixture is not None:
            self.pin_plugin(mixture.registered.origin)
        record = wanted.registered.record
        plan = plan_transform(tool, wanted.spec, wanted.options, wanted.inputs, self.ports)
        check_overrides(wanted.spec.overrides, plan, target)
        use = use_of(wanted.spec.produces, wanted.inputs)
        locked_tool = self.pin_tool(tool, use)
        digest = plan_digest(plan)
        action = transform_action("quantize", wanted.inputs, record.semantics, use, locked_tool, digest)
        old = self.old.targets.get(target)
        output = old.quantize.output if old and old.quantize and old.quantize.action == action else None
        return LockedQuantize(
            semantics=record.semantics,
            uses=use,
            quantizer=record.name,
            plan=digest,
            action=action,
            sha256=output.sha256 if output else None,
            size=output.size if output else None,
        )

    def runtime(self, target: str) -> str | None:
        name = runtime_name(self.recipe.targets[target], self.ports.registry)
        if name is None:
            return None
        old = self.old.targets.get(target)
        kept = old.runtime if old and old.runtime and old.runtime.startswith(f"{name}/") else None
        registered = self.ports.registry.runtime(name, None if ALL in self.upgrade.names else kept)
        self.pin_plugin(registered.origin)
        semantics = registered.record.semantics
        with guarded(registered.origin):
            found = LockedRuntime(sha256=runtime_digest(registered.record.factory().parts()))
        pinned = self.old.runtimes.get(semantics)
        if pinned is not None and ALL not in self.upgrade.names:
            require_pinned_runtime(semantics, pinned, found)
        self.runtimes[semantics] = found
        return semantics

    def target(self, name: str, pinned: Lock) -> LockedTarget:
        spec = self.recipe.targets[name]
        self.pin_plugin(self.ports.registry.get(LayoutType, spec.layout).origin)
        self.ports.registry.check_backend(spec.backend)
        weights = weights_artifact(self.recipe, pinned)
        stage = None
        if spec.quantize is not None:
            stage = self.quantize(name, pinned)
        else:
            if spec.overrides:
                raise RecipeError(f"targets.{name}.overrides: there is no quantize stage to apply them to")
            weights_header(weights, f"source {self.recipe.model.weights!r}", self.ports)
        runtime = self.runtime(name)
        entry = (runtime, self.runtimes[runtime]) if runtime else None
        part = slice_recipe(self.recipe, name)
        used = {source: pinned.sources[source] for source in part.sources}
        action = pack_action(recipe_digest(part), used, stage or weights, entry, pinned.convert)
        old = self.old.targets.get(name)
        kept = old.pack if old and old.pack and old.pack.action == action else None
        return LockedTarget(runtime=runtime, quantize=stage, pack=kept or LockedPack(action=action))


def make_lock(recipe: Recipe, old: Lock, upgrade: Upgrade, ports: Ports) -> Lock:
    """Return the lock of `recipe`.

    Pins of `old` are kept where the recipe still asks for the same, outputs where their action is unchanged.

    Raises:
        RecipeError: The recipe cannot be built.
        FetchError: A source does not deliver.
        UnavailableError: A pinned plugin is not the installed one.
    """
    locker = _Locker(recipe, old, upgrade, ports)
    sources = {name: locker.source(name, spec) for name, spec in sorted(recipe.sources.items())}
    pinned = Lock(recipe=old.recipe, sources=sources, plugins=locker.plugins, targets={})
    wanted = conversion(recipe, pinned, ports)  # before anything is fetched: perhaps nothing here can do it
    for name, file in needed_files(recipe, pinned):
        fetch_locked(pinned, name, file, ports)
    converted = locker.convert(wanted)
    pinned = attrs.evolve(pinned, tools=locker.tools, convert=converted)
    targets = {name: locker.target(name, pinned) for name in sorted(recipe.targets)}
    return Lock(
        recipe=locked_recipe(recipe),
        sources=sources,
        plugins=locker.plugins,
        tools=locker.tools,
        runtimes=locker.runtimes,
        convert=converted,
        targets=targets,
    )
