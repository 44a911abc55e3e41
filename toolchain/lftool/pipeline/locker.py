"""Make a lock: pin what is new, keep what still fits, move only what was asked to move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lftool.api import LayoutType
from lftool.codec.locks import locked_recipe
from lftool.codec.recipes import recipe_digest, slice_recipe
from lftool.errors import RecipeError, UsageError
from lftool.host.wire import encode_spec
from lftool.models.lock import Lock, LockedConvert, LockedPack, LockedQuantize, LockedTarget, LockedTool
from lftool.models.recipe import Recipe
from lftool.pipeline.accelerating import accelerated, accelerators
from lftool.pipeline.adapters import check_adapter
from lftool.pipeline.headers import header_of
from lftool.pipeline.identity import pack_action, plan_action, plan_digest, transform_action, use_of
from lftool.pipeline.license import check_license
from lftool.pipeline.loading import try_loading
from lftool.pipeline.model_parts import LORA, WEIGHTS, ModelParts, model_parts
from lftool.pipeline.outcomes import of_target, tell_outcome
from lftool.pipeline.overrides import check_overrides
from lftool.pipeline.pinning import ALL, Pins, Upgrade
from lftool.pipeline.ports import Ports
from lftool.pipeline.sources_checked import check_recognised
from lftool.pipeline.stages.convert import ROLE, differs, run_conversion
from lftool.pipeline.stages.fetch import bring, fetch_locked
from lftool.pipeline.stages.stream import Consumer, convert_and_quantize, most_consumers
from lftool.pipeline.tasks import (
    Conversion,
    Quantization,
    check_part,
    conversions,
    quantization,
    quantization_of,
    quantizer_of,
    weights_header,
)
from lftool.pipeline.tools import (
    Tool,
    input_files,
    mixture_of,
    plan_ahead,
    plan_transform,
    require_pinned_fingerprint,
    tool_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from lftool.api import GGUFHeader, InputFile, TransformPlan
    from lftool.models.digest import Artifact, Digest


def check_upgrade(names: Collection[str], recipe: Recipe, lock: Lock) -> Upgrade:
    """Return the upgrade that `names` mean.

    Raises:
        UsageError: A name that is neither a source, nor a tool, runtime or plugin of the lock.
    """
    tools = {f"tool:{name}" for name in lock.tools} | {
        f"tool:{name}" for item in lock.tools.values() for name in item.providers
    }
    tools |= {f"tool:{name}" for name in lock.runtimes}
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
    """Makes the stages of a lock, one after the other."""

    recipe: Recipe
    old: Lock
    pins: Pins
    ports: Ports

    def convert(self, wanted: Conversion, pinned: Lock, parts: ModelParts) -> LockedConvert:
        """Return how a part of the model becomes one GGUF, doing it if need be: the rest of the lock depends on it."""
        record = wanted.registered.record
        self.pins.pin_plugin(wanted.registered.origin)
        tool = self.pins.with_archive(tool_of(wanted.registered, self.ports))
        plan = plan_transform(tool, wanted.spec, {}, wanted.inputs, self.ports)
        use = wanted.spec.produces
        locked_tool, digest = self.pins.pin_tool(tool, use), plan_digest(plan)
        action = transform_action("convert", wanted.inputs, record.semantics, use, locked_tool, digest)
        old = self.old.convert.get(wanted.role)
        streams = self._streams(wanted)
        known = None if old is None or old.action != action else self._made(action, old.output, header=streams)
        if known is not None:
            made = known
        else:
            require_pinned_fingerprint(tool, record.semantics, use, locked_tool, self.ports)
            if streams:
                made = self._convert_and_quantize(wanted, tool, plan, pinned, parts)
            else:
                made = run_conversion(wanted, tool, plan, self.ports.threads, self.ports)
            moves = self.pins.upgrade.tool(record.semantics, record.name)
            if old is not None and old.action == action and old.output != made and not moves:
                raise differs(
                    wanted.role,
                    old.output,
                    made,
                    f"if the new bytes are wanted: lftool lock --upgrade tool:{record.semantics}",
                )
            self.ports.records.put(action, {"weights": made})
        return LockedConvert(
            semantics=record.semantics,
            uses=use,
            converter_name=record.name,
            plan=digest,
            action=action,
            sha256=made.sha256,
            size=made.size,
        )

    def _streams(self, wanted: Conversion) -> bool:
        """Tell whether all that reads the converted weights can read them while they are made."""
        quantizers = [
            quantizer_of(name, spec, self.ports).record.streams if spec.quantize else False
            for name, spec in self.recipe.targets.items()
        ]
        reads_files = wanted.role != ROLE or self.recipe.measured  # checks compare with the unquantised weights
        asked = {(s.quantize, s.quantizer, str(s.overrides), str(s.options)) for s in self.recipe.targets.values()}
        fits = len(asked) <= most_consumers(self.ports)
        return not reads_files and fits and wanted.registered.record.streams and all(quantizers)

    def _made(self, action: Digest, output: Artifact, *, header: bool) -> Artifact | None:
        """Return the output that the old lock names if a conversion made it, and the store has it or what is enough."""
        if self.ports.records.vouched(action, "weights", output) is None:
            return None
        there = bring(output, "converted", ROLE, self.ports)
        return output if there or (header and header_of(output, self.ports) is not None) else None

    def _convert_and_quantize(
        self, wanted: Conversion, tool: Tool, plan: TransformPlan, pinned: Lock, parts: ModelParts
    ) -> Artifact:
        imatrix = parts.imatrix_input
        asked_for: set[Digest] = set()
        memories: list[Callable[[dict[str, Artifact]], Digest]] = []

        def choose(header: GGUFHeader, weights: InputFile) -> list[Consumer]:
            files = {**input_files(dict(imatrix), self.ports), "weights": weights}
            consumers = []
            for target in sorted(self.recipe.targets):
                asked = quantization_of(self.recipe, header, dict(imatrix), target, self.ports)
                key = plan_action(
                    {"name": asked.registered.record.name}, encode_spec(asked.spec, asked.options), imatrix
                )
                if key in asked_for:
                    continue
                asked_for.add(key)
                quantizer = self._quantizer(asked, target)
                with of_target(target):
                    chosen, remember = plan_ahead(quantizer, asked.spec, asked.options, files, self.ports)
                check_overrides(asked.spec.overrides, chosen, target)
                tell_outcome(target, asked, header, chosen, self.ports)
                semantics, use = asked.registered.record.semantics, use_of(asked.spec.produces, imatrix)
                locked_tool = self.pins.pin_tool(quantizer, use)
                require_pinned_fingerprint(quantizer, semantics, use, locked_tool, self.ports)
                memories.append(_memory(remember, semantics, use, locked_tool, plan_digest(chosen)))
                backend, pins = self.recipe.targets[target].backend, attrs.evolve(pinned, plugins=self.pins.plugins)
                executing = accelerated(quantizer, backend, use, locked_tool.fingerprints[use], pins, self.ports)
                consumers.append(
                    Consumer(
                        target=target,
                        tool=executing,
                        spec=asked.spec,
                        options=asked.options,
                        inputs=imatrix,
                        plan=chosen,
                    )
                )
            return consumers

        streamed = convert_and_quantize(wanted, tool, plan, choose, self.ports)
        for action_of, made in zip(memories, streamed.made, strict=True):
            self.ports.records.put(action_of({**imatrix, "weights": streamed.weights}), {"weights": made})
        return streamed.weights

    def _quantizer(self, wanted: Quantization, target: str) -> Tool:
        """Return the tool behind a quantizer.

        Its plugin, that of the quantizer that chooses its types, and those of what may work in its place are pinned.
        """
        self.pins.pin_plugin(wanted.registered.origin)
        for registered in accelerators(wanted.registered.record.name, self.recipe.targets[target].backend, self.ports):
            self.pins.pin_plugin(registered.origin)
        tool = tool_of(wanted.registered, self.ports)
        mixture = mixture_of(tool, self.ports)
        if mixture is not None:
            self.pins.pin_plugin(mixture.registered.origin)
        return tool

    def quantize(self, target: str, parts: ModelParts) -> LockedQuantize:
        wanted = quantization(self.recipe, parts, target, self.ports)
        tool = self._quantizer(wanted, target)
        record = wanted.registered.record
        with of_target(target):
            plan = plan_transform(tool, wanted.spec, wanted.options, wanted.inputs, self.ports)
        check_overrides(wanted.spec.overrides, plan, target)
        tell_outcome(
            target, wanted, weights_header(wanted.inputs["weights"], "the weights", self.ports), plan, self.ports
        )
        use = use_of(wanted.spec.produces, wanted.inputs)
        locked_tool = self.pins.pin_tool(tool, use)
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

    def check(self, name: str) -> None:
        """Raise what is wrong with a target as far as it can be told before anything is converted."""
        spec = self.recipe.targets[name]
        self.pins.pin_plugin(self.ports.registry.get(LayoutType, spec.layout).origin)
        self.ports.registry.check_backend(spec.backend)
        if spec.quantize is None and spec.overrides:
            raise RecipeError(f"targets.{name}.overrides: there is no quantize stage to apply them to")
        self.pins.runtime(name)

    def target(self, name: str, pinned: Lock, parts: ModelParts) -> LockedTarget:
        spec = self.recipe.targets[name]
        weights = parts.artifact(WEIGHTS)
        stage = None
        if spec.quantize is not None:
            stage = self.quantize(name, parts)
        else:
            weights_header(weights, f"source {parts.weights.source!r}", self.ports)
        runtime = self.pins.runtime(name)
        entry = (runtime, self.pins.runtimes[runtime]) if runtime else None
        part = slice_recipe(self.recipe, name)
        used = {source: pinned.sources[source] for source in part.sources}
        action = pack_action(recipe_digest(part), used, stage or weights, entry, pinned.convert)
        old = self.old.targets.get(name)
        kept = old.pack if old and old.pack and old.pack.action == action else None
        return LockedTarget(runtime=runtime, quantize=stage, pack=kept or LockedPack(action=action))


def _memory(
    remember: Callable[[dict[str, Artifact]], None], semantics: str, use: str, tool: LockedTool, plan: Digest
) -> Callable[[dict[str, Artifact]], Digest]:
    """Return what remembers a plan once its inputs have names, and gives the action of its stage."""

    def action_of(inputs: dict[str, Artifact]) -> Digest:
        remember(inputs)
        return transform_action("quantize", inputs, semantics, use, tool, plan)

    return action_of


def make_lock(recipe: Recipe, old: Lock, upgrade: Upgrade, ports: Ports) -> Lock:
    """Return the lock of `recipe`.

    Pins of `old` are kept where the recipe still asks for the same, outputs where their action is unchanged.

    Raises:
        RecipeError: The recipe cannot be built.
        FetchError: A source does not deliver.
        UnavailableError: A pinned plugin is not the installed one.
    """
    check_license(recipe.bundle.license)
    pins = Pins(recipe, old, upgrade, ports)
    locker = _Locker(recipe, old, pins, ports)
    sources = {name: pins.source(name, spec) for name, spec in sorted(recipe.sources.items())}
    pinned = Lock(recipe=old.recipe, sources=sources, plugins=pins.plugins, targets={})
    parts = model_parts(recipe, pinned)
    wanted = conversions(recipe, parts, ports)  # before anything is fetched: perhaps nothing here can do it
    for name in sorted(recipe.targets):
        locker.check(name)
    for name, file in parts.needed_files:
        known = old.sources.get(name)
        fetch_locked(pinned, name, file, ports, pinned=known is not None and file in known.files)
        check_recognised(name, file, ports)
    for part in parts.by_role.values():
        if part.is_gguf:
            check_part(part, parts.artifact(part.role), ports)
    converted = {role: locker.convert(item, pinned, parts) for role, item in wanted.items()}
    pinned = attrs.evolve(pinned, tools=pins.tools, convert=converted)
    parts = attrs.evolve(parts, converted={role: stage.output for role, stage in converted.items()})
    what = f"source {parts.weights.source!r}"
    for role, part in parts.beside.items():
        check_part(part, parts.artifact(role), ports)
        if role == LORA:
            adapter = weights_header(parts.artifact(role), "the adapter", ports)
            weights = weights_header(parts.artifact(WEIGHTS), "the weights", ports)
            check_adapter(adapter, weights, part.source)
    targets = {name: locker.target(name, pinned, parts) for name in sorted(recipe.targets)}
    try_loading(parts.artifact(WEIGHTS), recipe.run.context, what, ports)
    return Lock(
        recipe=locked_recipe(recipe),
        sources=sources,
        plugins=pins.plugins,
        tools=pins.tools,
        runtimes=pins.runtimes,
        convert=converted,
        targets=targets,
    )
