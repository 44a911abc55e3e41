"""Make a lock: pin what is new, keep what still fits, move only what was asked for; then run the lock's graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from lftool.api import LayoutType, Notice
from lftool.codec.locks import locked_recipe
from lftool.codec.recipes import recipe_digest, slice_recipe
from lftool.errors import RecipeError, UsageError
from lftool.host.rendering import require_template
from lftool.models.lock import Lock, LockedMetadata, LockedPack, LockedQuantize, LockedTarget
from lftool.pipeline.graph.executor import THREADS, Executor, Work
from lftool.pipeline.graph.graphs import build_graph, fuse, only_pins
from lftool.pipeline.graph.steps import Convert, Graph, Product, Quantize
from lftool.pipeline.identity import pack_action
from lftool.pipeline.locking.license import check_license
from lftool.pipeline.locking.new_pins import ALL, NewPins, Upgrade
from lftool.pipeline.locking.trial_load import try_loading
from lftool.pipeline.model.adapters import check_adapter
from lftool.pipeline.model.contract_checks import check_cache_type, check_runtime, check_tokens, reads_thinking
from lftool.pipeline.model.header_edits import header_edits, new_header, template_text
from lftool.pipeline.model.parts import LORA, WEIGHTS, ModelParts, formats_of, model_parts
from lftool.pipeline.model.weights import check_part, weights_header
from lftool.pipeline.stages.describing import metadata_entry
from lftool.pipeline.stages.packing import layout_options
from lftool.pipeline.stages.performing import Stages
from lftool.pipeline.stages.stream import can_stream
from lftool.pipeline.tools.requests import quantizer_of, requests_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from lftool.models.digest import Artifact
    from lftool.models.recipe import Recipe
    from lftool.pipeline.ports import Ports


def check_upgrade(names: Collection[str], recipe: Recipe, lock: Lock) -> Upgrade:
    """Return the upgrade that `names` stand for.

    Raises:
        UsageError: A name is neither a source nor a tool, runtime or plugin of the lock.
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


def _check_targets(recipe: Recipe, pins: NewPins, ports: Ports) -> dict[str, str]:
    """Check targets as far as possible before fetching anything.

    Returns:
        Targets with a compiled runtime, and its name and number.
    """
    compiled = {}
    for name, spec in sorted(recipe.targets.items()):
        layout_options(spec, name, ports.registry)
        pins.pin_plugin(ports.registry.get(LayoutType, spec.layout).origin)
        ports.registry.check_backend(spec.backend)
        if spec.quantize is None and spec.overrides:
            raise RecipeError(f"targets.{name}.overrides: there is no quantize stage to apply them to")
        runtime = pins.runtime(name)
        if runtime is not None:
            check_runtime(recipe.run, runtime.record, name)
            if runtime.record.compiled:
                compiled[name] = runtime.record.semantics
    return compiled


def _check_companions(parts: ModelParts, ports: Ports) -> None:
    """Raise unless companions of the weights are of the right kind, and an adapter fits these weights."""
    for role, part in parts.beside.items():
        check_part(part, parts.artifact(role), ports)
        if role == LORA:
            adapter = weights_header(parts.artifact(role), "the adapter", ports)
            weights = weights_header(parts.artifact(WEIGHTS), "the weights", ports)
            check_adapter(adapter, weights, part.source)


def _target(
    name: str, stage: LockedQuantize | None, lock: Lock, recipe: Recipe, parts: ModelParts, pins: NewPins
) -> LockedTarget:
    """Return the lock entry of a target; keeps the outputs of the old lock if their action is unchanged."""
    weights = parts.artifact(WEIGHTS)
    if stage is not None:
        output = pins.output(name, stage.action)
        stage = attrs.evolve(stage, sha256=output.sha256 if output else None, size=output.size if output else None)
    else:
        weights_header(weights, f"source {parts.weights.source!r}", pins.ports)
    registered = pins.runtime(name)
    runtime = None if registered is None else registered.record.semantics
    entry = (runtime, pins.runtimes[runtime]) if runtime else None
    metadata = _metadata(name, stage or weights, recipe, parts, pins)
    part = slice_recipe(recipe, name)
    used = {source: lock.sources[source] for source in part.sources}
    number = pins.ports.registry.get(LayoutType, recipe.targets[name].layout).record.number
    layout = number if number > 1 else None
    action = pack_action(recipe_digest(part), used, metadata or stage or weights, entry, lock.convert, layout)
    old = pins.old.targets.get(name)
    kept = old.pack if old and old.pack and old.pack.action == action else None
    pack = kept or LockedPack(action=action, layout=layout)
    return LockedTarget(runtime=runtime, quantize=stage, metadata=metadata, pack=pack)


def _metadata(
    name: str, weights: Artifact | LockedQuantize, recipe: Recipe, parts: ModelParts, pins: NewPins
) -> LockedMetadata | None:
    """Return the lock entry of a target's metadata stage; keeps the output of the old lock if its action is unchanged."""
    edits = header_edits(recipe)
    if edits is None:
        return None
    template = None if parts.template is None else parts.template[1].artifact
    made = metadata_entry(edits, weights, template)
    old = pins.old.targets.get(name)
    same = old is not None and old.metadata is not None and old.metadata.action == made.action
    return old.metadata if same and old is not None else made


def _check_metadata(recipe: Recipe, parts: ModelParts, ports: Ports) -> None:
    """Raise unless the weights can have the keys that a recipe sets, and its chat template compiles."""
    edits = header_edits(recipe)
    if edits is None:
        return
    text = "" if parts.template is None else template_text(parts.template[1].artifact, ports)
    if parts.template is not None:
        try:
            require_template(text)
        except ValueError as error:
            raise RecipeError(f"model.template: {parts.template[1].path} does not compile: {error}") from None
    new_header(edits, parts.artifact(WEIGHTS), text, ports)


def _check_contract(recipe: Recipe, parts: ModelParts, ports: Ports) -> None:
    """Raise unless the weights have what the run contract names; tell what changes nothing."""
    weights = parts.artifact(WEIGHTS)
    check_cache_type(recipe.run, weights, ports)
    check_tokens(recipe.run, weights, ports)
    if recipe.run.reasoning is not None:
        template = None if parts.template is None else template_text(parts.template[1].artifact, ports)
        if not reads_thinking(weights, template, ports):
            text = "run.reasoning: the chat template does not read enable_thinking, so it changes nothing with most engines"
            ports.emit(Notice(text=text, warning=True))


def make_lock(recipe: Recipe, old: Lock, upgrade: Upgrade, ports: Ports, executor: Executor = THREADS) -> Lock:
    """Return the lock of `recipe`.

    Keeps pins of `old` if the recipe still asks for the same, and outputs if their action is unchanged.

    Raises:
        RecipeError: The recipe cannot be built.
        FetchError: A source cannot deliver.
        UnavailableError: A pinned plugin is not the installed one.
    """
    check_license(recipe.bundle.license)
    header_edits(recipe)  # before anything is fetched
    pins = NewPins(recipe, old, upgrade, ports)
    for name, spec in sorted(recipe.sources.items()):
        pins.source(name, spec)
    pinned = Lock(recipe=old.recipe, sources=pins.sources, targets={})
    pins.parts = parts = model_parts(recipe, pinned, formats_of(ports.registry))
    targets = sorted(recipe.targets)
    requests = requests_of(recipe, pinned, parts, targets, ports.registry)  # before anything is fetched
    requests = attrs.evolve(
        requests,
        quantize={
            name: attrs.evolve(request, mixture=pins.mixture(name, quantizer_of(request, ports.registry).record))
            for name, request in requests.quantize.items()
        },
        compiled=_check_targets(recipe, pins, ports),
    )
    whole = build_graph(recipe, pinned, parts, targets, requests, signed=False)
    graph = only_pins(fuse(whole, lambda convert, quantizes: can_stream(convert, quantizes, ports)))
    stages = Stages(recipe=recipe, parts=parts, pins=pins, ports=ports)
    work = Work(graph=graph, whole=whole, performer=stages, ports=ports)
    executor.run(work)
    converted = {step.role: work.made[step.makes[0]] for step in whole if isinstance(step, Convert)}
    parts = attrs.evolve(parts, converted={role: stage.output for role, stage in converted.items()})
    _check_companions(parts, ports)
    _check_metadata(recipe, parts, ports)
    _check_contract(recipe, parts, ports)
    pinned = attrs.evolve(pinned, tools=pins.tools, convert=converted)
    stages_of = _quantized(whole, work.made)
    made = {name: _target(name, stages_of.get(name), pinned, recipe, parts, pins) for name in targets}
    try_loading(parts.artifact(WEIGHTS), recipe.run.context, f"source {parts.weights.source!r}", ports)
    return Lock(
        recipe=locked_recipe(recipe),
        sources=pins.sources,
        plugins=pins.plugins,
        tools=pins.tools,
        runtimes=pins.runtimes,
        convert=converted,
        targets=made,
    )


def _quantized(whole: Graph, made: Mapping[Product, Any]) -> dict[str, LockedQuantize]:
    """Return each target's quantize stage."""
    return {target: made[step.quantized] for step in whole if isinstance(step, Quantize) for target in step.targets}
