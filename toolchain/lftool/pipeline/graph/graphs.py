"""The graph of a build, built from recipe and lock, and rewritten, by pure functions; `--dry-run` prints it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from lftool.models.digest import Artifact, Digest
from lftool.pipeline.graph.steps import (
    Compile,
    Convert,
    Fetch,
    Graph,
    Measure,
    Metadata,
    Pack,
    Plan,
    Product,
    Quantize,
    Sign,
    Step,
    Stream,
    TransformRequest,
    file_product,
)
from lftool.pipeline.model.header_edits import header_edits
from lftool.pipeline.model.parts import WEIGHTS

if TYPE_CHECKING:
    from lftool.models.lock import Lock
    from lftool.models.recipe import Recipe
    from lftool.pipeline.model.parts import ModelParts, Part


@frozen(kw_only=True)
class Requests:
    """The requests for a recipe's transforms.

    Attributes:
        convert: By role.
        quantize: By target.
        compiled: Targets with a compiled runtime, and its name and number.
    """

    convert: Mapping[str, TransformRequest] = field(factory=dict)
    quantize: Mapping[str, TransformRequest] = field(factory=dict)
    compiled: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Present:
    """Queries for what is already there.

    Attributes:
        blob: Whether the store has a blob.
        made: Returns the named output of an action if it counts as made and equals the lock's (if given), else None.
        runtime: Whether the locked executable of a compiled runtime counts as made.
        measured: Whether figures of a check are remembered for quantised weights.
        bundle: Id of the key that signed a target's finished bundle; "" if unsigned, None if there is no such bundle.
    """

    blob: Callable[[Artifact], bool]
    made: Callable[[Digest, str, Artifact | None], Artifact | None]
    runtime: Callable[[str], bool]
    measured: Callable[[Measure, Artifact], bool]
    bundle: Callable[[str], str | None]


def build_graph(
    recipe: Recipe, lock: Lock, parts: ModelParts, targets: Sequence[str], requests: Requests, *, signed: bool
) -> Graph:
    """Return all steps of a build of `targets` from scratch.

    Args:
        recipe: The recipe.
        lock: Its lock. A lock without stage entries is still being made: actions and outputs are unknown.
        parts: The parts of the model.
        targets: Names of targets, in build order.
        requests: The requests for transforms.
        signed: Whether to sign bundles.
    """
    steps: list[Step] = []
    for target, runtime in requests.compiled.items():
        locked = lock.runtimes.get(runtime)
        executable = None if locked is None else locked.output
        steps.append(Compile(targets=(target,), runtime=runtime, executable=executable))
    weights = _part_steps(parts.weights, parts, lock, requests, steps)
    imatrix = None
    if parts.imatrix is not None and requests.quantize:
        source, file = parts.imatrix
        steps.append(Fetch(source=source, file=file))
        imatrix = file_product(file)
    companions = tuple(_part_steps(part, parts, lock, requests, steps) for part in parts.beside.values())
    quantizes = [_quantize(target, weights, imatrix, recipe, lock, requests) for target in sorted(requests.quantize)]
    made = {step.targets[0]: step.quantized for step in quantizes}
    measures = [
        Measure(targets=(name,), number=number, check=check, target=name, weights=made[name], reference=weights)
        for number, check in recipe.measured
        for name in made
        if name in (check.targets or made)
    ]
    steps += [*quantizes, *measures]
    signed = signed and recipe.sign is not None
    described = _metadata(targets, weights, made, recipe, lock, parts, steps)
    for target in targets:
        needed = requests.compiled.get(target)
        compiled = () if needed is None else (Product("runtime", needed),)
        steps.append(
            Pack(
                targets=(target,),
                target=target,
                layout=recipe.targets[target].layout,
                weights=described.get(target) or made.get(target, weights),
                quantized=made.get(target),
                beside=(*companions, *compiled),
                after=tuple(product for step in (*quantizes, *measures) for product in step.makes),
                signed=signed,
                locked=lock.targets[target].pack if target in lock.targets else None,
            )
        )
        if signed and recipe.sign is not None:
            steps.append(Sign(targets=(target,), target=target, key=recipe.sign.key))
    return _with_packed(with_targets(share(steps)))


def _with_packed(graph: Graph) -> Graph:
    """Return the graph with `packed` of every fetch set."""
    packed = {product for step in graph if isinstance(step, Pack) for product in (step.weights, *step.beside)}
    return Graph(
        steps=tuple(
            attrs.evolve(step, packed=not packed.isdisjoint(step.makes)) if isinstance(step, Fetch) else step
            for step in graph
        )
    )


def _quantize(
    target: str, weights: Product, imatrix: Product | None, recipe: Recipe, lock: Lock, requests: Requests
) -> Quantize:
    locked = lock.targets.get(target)
    return Quantize(
        targets=(target,),
        quantized=Product("quantized", target),
        request=requests.quantize[target],
        weights=weights,
        imatrix=imatrix,
        backend=recipe.targets[target].backend,
        locked=None if locked is None else locked.quantize,
    )


def _metadata(
    targets: Sequence[str],
    weights: Product,
    quantized: Mapping[str, Product],
    recipe: Recipe,
    lock: Lock,
    parts: ModelParts,
    steps: list[Step],
) -> dict[str, Product]:
    """Add the steps that give weights other keys, if the recipe sets any; return their products by target."""
    edits = header_edits(recipe)
    if edits is None:
        return {}
    template = None
    if parts.template is not None:
        source, file = parts.template
        steps.append(Fetch(source=source, file=file))
        template = file_product(file)
    found = [
        Metadata(
            targets=(target,),
            target=target,
            edits=edits,
            weights=quantized.get(target, weights),
            template=template,
            locked=lock.targets[target].metadata if target in lock.targets else None,
        )
        for target in targets
    ]
    steps += found
    return {step.target: step.makes[0] for step in found}


def _part_steps(part: Part, parts: ModelParts, lock: Lock, requests: Requests, steps: list[Step]) -> Product:
    """Add the steps that bring a part of the model into the store; return the resulting product."""
    if part.is_gguf:
        source, file = part.pinned[0]
        steps.append(Fetch(source=source, file=file))
        return file_product(file)
    files = parts.conversion_files(part.role)
    steps += [Fetch(source=source, file=file) for source, file in files]
    step = Convert(
        role=part.role,
        request=requests.convert[part.role],
        inputs=parts.conversion_inputs(part.role),
        files=tuple(dict.fromkeys(file_product(file) for _, file in files)),
        locked=lock.convert.get(part.role),
    )
    steps.append(step)
    return step.makes[0]


def _same(step: Step) -> Any:  # noqa: ANN401 - any comparable value
    """Return a value that is equal for steps that do the same work."""
    if isinstance(step, Quantize):
        return step.action or (step.request, step.reads)
    return step.makes


def share(steps: Sequence[Step]) -> Graph:
    """Return the graph with steps that do the same work merged."""
    kept: list[Step] = []
    names: dict[Product, Product] = {}
    for step in steps:
        place = next((number for number, other in enumerate(kept) if _same(other) == _same(step)), None)
        if place is None:
            kept.append(step)
            continue
        same = kept[place]
        names |= dict(zip(step.makes, same.makes, strict=True))
        kept[place] = attrs.evolve(same, targets=tuple(dict.fromkeys([*same.targets, *step.targets])))
    return Graph(steps=tuple(step.renamed(names) for step in kept))


def with_targets(graph: Graph) -> Graph:
    """Return the graph with `targets` of every step set from the steps that read its products."""
    needed: dict[Product, set[str]] = {}
    packed = [step.target for step in graph if isinstance(step, Pack)]
    order = list(dict.fromkeys([*packed, *(target for step in graph for target in step.targets)]))
    found: list[Step] = []
    for step in reversed(graph.steps):
        names = set(step.targets).union(*(needed.get(product, ()) for product in step.makes))
        targets = tuple(target for target in order if target in names)
        found.append(attrs.evolve(step, targets=targets))
        for product in step.uses:
            needed.setdefault(product, set()).update(targets)
    return Graph(steps=tuple(reversed(found)))


def prune(graph: Graph, present: Present, wanted: Collection[Product] = ()) -> Graph:
    """Return the remaining steps: marks those whose output counts as made as cached, drops those that no step reads.

    A conversion without a record stays even if its quantised weights have one, since they prove nothing without it.

    Args:
        graph: All steps of the build.
        present: What is already there.
        wanted: Products that must be there besides bundles.
    """
    outputs: dict[Product, Artifact] = {}
    marked = []
    for step in graph:
        cached = _is_cached(step, outputs, present)
        made = _stored(step, present) if isinstance(step, Quantize) else None
        if made is not None and isinstance(step, Quantize):
            outputs[step.quantized] = made
        marked.append(attrs.evolve(step, cached=cached))
    needed: set[Product] = set(wanted)
    left: list[Step] = []
    for step in reversed(marked):
        read = bool(needed & set(step.makes))
        if not read and not _is_wanted(step, present):
            continue
        shared = read and isinstance(step, (Fetch, Convert, Compile))
        left.append(attrs.evolve(step, targets=()) if shared else step)
        needed.update(step.needs)
    return with_targets(Graph(steps=tuple(reversed(left))))


def _is_wanted(step: Step, present: Present) -> bool:
    """Return whether a step runs even if no other step reads its products."""
    if isinstance(step, Convert) and step.locked is not None:
        return present.made(step.locked.action, WEIGHTS, step.locked.output) is None
    return isinstance(step, (Pack, Sign))


def _is_cached(step: Step, outputs: Mapping[Product, Artifact], present: Present) -> bool:
    match step:
        case Compile():
            return step.executable is not None and present.blob(step.executable) and present.runtime(step.runtime)
        case Fetch():
            return present.blob(step.output)
        case Convert() | Quantize() | Metadata():
            return _stored(step, present) is not None
        case Measure():
            return step.weights in outputs and present.measured(step, outputs[step.weights])
        case Pack():
            return present.bundle(step.target) is not None
        case Sign():
            return bool(present.bundle(step.target))
        case _:
            return False


def _stored(step: Convert | Quantize | Metadata, present: Present) -> Artifact | None:
    """Return the output of a transform if it counts as made and is in the store."""
    if step.locked is None:
        return None
    made = present.made(step.locked.action, WEIGHTS, step.locked.output)
    return made if made is not None and present.blob(made) else None


def rebuild(present: Present) -> Present:
    """Return `present` for a build that ignores recorded outputs: only source files are there."""
    return attrs.evolve(
        present,
        made=lambda *_: None,
        runtime=lambda _: False,
        measured=lambda *_: False,
        bundle=lambda _: None,
    )


def fuse(graph: Graph, streams: Callable[[Convert, Sequence[Quantize]], bool]) -> Graph:
    """Return the graph in which weights are quantised while they are converted, if only quantizers read them.

    Args:
        graph: The remaining steps.
        streams: Whether a converter and quantizers can stream.
    """
    convert = next((step for step in graph if isinstance(step, Convert) and step.role == WEIGHTS), None)
    if convert is None or convert.cached:
        return graph
    (weights,) = convert.makes
    readers = [step for step in graph if weights in step.needs]
    quantizes = [step for step in readers if isinstance(step, Quantize)]
    if not quantizes or len(quantizes) < len(readers) or not streams(convert, quantizes):
        return graph
    stream = Stream(
        targets=tuple(dict.fromkeys(target for step in quantizes for target in step.targets)),
        convert=convert,
        quantizes=tuple(quantizes),
    )
    last = max(graph.steps.index(step) for step in quantizes)
    steps: list[Step] = []
    for number, step in enumerate(graph):
        if number == last:
            steps.append(stream)
        elif step is not convert and step not in quantizes:
            steps.append(step)
    return Graph(steps=tuple(steps))


def only_pins(graph: Graph) -> Graph:
    """Return the steps that a lock needs: those up to the actions of quantize steps, planned unless streamed."""
    steps: list[Step] = []
    for step in graph:
        if isinstance(step, Quantize):
            steps.append(Plan(targets=step.targets, of=step))
        elif not isinstance(step, (Measure, Metadata, Pack, Sign)):
            steps.append(step)
    return Graph(steps=tuple(steps))
