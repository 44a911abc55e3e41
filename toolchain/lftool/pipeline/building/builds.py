"""Plan a build as a graph of the remaining steps, and run it on the executor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import LayoutType
from lftool.bundle.detached import SIDECAR
from lftool.models.lock import Lock
from lftool.models.recipe import Recipe
from lftool.pipeline.building.ahead import fingerprints_ahead
from lftool.pipeline.graph.executor import THREADS, Executor, Work
from lftool.pipeline.graph.graphs import Present, build_graph, fuse, prune, rebuild
from lftool.pipeline.graph.steps import Convert, Fetch, Graph, Product, Quantize, file_product
from lftool.pipeline.model.parts import WEIGHTS, ModelParts
from lftool.pipeline.stages.bundling import Bundling
from lftool.pipeline.stages.finished import BuiltBundle, signed_with
from lftool.pipeline.stages.performing import Stages
from lftool.pipeline.tools.pins import LockedPins
from lftool.pipeline.tools.requests import requests_of
from lftool.pipeline.tools.runtimes import made_already

if TYPE_CHECKING:
    from collections.abc import Collection

    from lftool.models.digest import Artifact, Digest
    from lftool.models.lock import LockedFile
    from lftool.pipeline.graph.steps import Measure
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.stages.signature import SigningKey


@frozen(kw_only=True)
class BuildRequest:
    """What to build.

    Attributes:
        recipe: The recipe.
        lock: Its lock, which must be fresh.
        parts: The parts of the model.
        targets: Names of targets, in build order.
        output: Folder for bundles.
        signed: Whether to sign bundles, if the recipe names a key.
        rebuild: Whether to ignore recorded outputs.
    """

    recipe: Recipe
    lock: Lock
    parts: ModelParts
    targets: Sequence[str]
    output: Path
    signed: bool = False
    rebuild: bool = False


@frozen(kw_only=True)
class BuildPlan:
    """The steps of a build.

    Attributes:
        whole: All steps of a build from scratch.
        left: The remaining steps.
    """

    whole: Graph
    left: Graph

    @property
    def fetched(self) -> list[tuple[str, LockedFile]]:
        """The files that are still to be fetched, each with the name of its source; of equal files, only the first."""
        return [(step.source, step.file) for step in self.left if isinstance(step, Fetch) and not step.cached]


def plan_build(request: BuildRequest, ports: Ports, wanted: Collection[Product] = ()) -> BuildPlan:
    """Return the plan of a build, without writing anything.

    Args:
        request: The build.
        ports: Store and registry.
        wanted: Further products that must be in the store.

    Raises:
        UnavailableError: A required plugin is not installed.
    """
    recipe, lock, parts = request.recipe, request.lock, request.parts
    requests = requests_of(recipe, lock, parts, request.targets, ports.registry)
    whole = build_graph(recipe, lock, parts, request.targets, requests, signed=request.signed)
    present = _present(request, ports)
    left = prune(whole, rebuild(present) if request.rebuild else present, wanted)

    def streams(convert: Convert, quantizes: Sequence[Quantize]) -> bool:
        from lftool.pipeline.stages.stream import can_stream  # noqa: PLC0415 - most builds do not convert

        return not wanted and can_stream(convert, quantizes, ports)

    return BuildPlan(whole=whole, left=fuse(left, streams))


def _present(request: BuildRequest, ports: Ports) -> Present:
    info, recipe, lock = request.recipe.bundle, request.recipe, request.lock

    def bundle(target: str) -> str | None:
        spec = recipe.targets[target]
        suffix = SIDECAR if spec.detached else ports.registry.get(LayoutType, spec.layout).record.suffix
        path = request.output / f"{info.name}-{info.version}-{target}{suffix}"
        return signed_with(path, lock.targets[target].pack, ports)

    def made(action: Digest, name: str, expected: Artifact | None) -> Artifact | None:
        found = ports.records.known(action, name, expected)
        return None if found is None else found.output

    def measured(step: Measure, weights: Artifact) -> bool:
        from lftool.pipeline.model.planned_checks import planned_check  # noqa: PLC0415 - most recipes do not measure
        from lftool.pipeline.stages.measure import context_of, is_measured, text_of  # noqa: PLC0415 - as above

        check = planned_check(step.number, step.check, ports.registry)
        backend, reference = recipe.targets[step.target].backend, request.parts.artifact(WEIGHTS)
        return is_measured(backend, text_of(check, ports.files), context_of(check), weights, reference, ports)

    return Present(
        blob=ports.store.blobs.holds,
        made=made,
        runtime=lambda name: made_already(name, ports.registry.pinned_runtime(name), lock, ports),
        measured=measured,
        bundle=bundle,
    )


def run_build(
    request: BuildRequest, plan: BuildPlan, key: SigningKey | None, ports: Ports, executor: Executor = THREADS
) -> list[BuiltBundle]:
    """Build bundles and return them in the order of the targets.

    Args:
        request: The build.
        plan: Its plan.
        key: Signs the bundles; None leaves them unsigned.
        ports: Store, registry, child processes.
        executor: Runs the steps.

    Raises:
        NotReproducibleError: A stage made other bytes than the lock names.
        PolicyError: A check failed; then no bundle is made.
        LftoolError: Whatever a stage raises; existing files stay unchanged.
    """
    recipe, lock, parts = request.recipe, request.lock, request.parts
    bundling = Bundling(recipe=recipe, lock=lock, parts=parts, output=request.output, key=key, ports=ports)
    with bundling:
        pins = LockedPins(lock=lock, ports=ports)
        stages = Stages(recipe=recipe, parts=parts, pins=pins, ports=ports, bundling=bundling)
        work = Work(graph=plan.left, whole=plan.whole, performer=stages, ports=ports)
        with fingerprints_ahead(plan.left, pins, ports):
            executor.run(work)
    return [work.made[Product("bundle", target)] for target in request.targets]


def make_weights(recipe: Recipe, lock: Lock, parts: ModelParts, ports: Ports) -> None:
    """Bring the weights that quantizers read into the store: fetch them, and convert them if necessary.

    Raises:
        LftoolError: Whatever a stage raises.
    """
    weights = file_product(parts.weights.files[0]) if parts.weights.is_gguf else Product("gguf", WEIGHTS)
    request = BuildRequest(recipe=recipe, lock=lock, parts=parts, targets=(), output=ports.project)
    plan = plan_build(request, ports, (weights,))
    stages = Stages(recipe=recipe, parts=parts, pins=LockedPins(lock=lock, ports=ports), ports=ports)
    THREADS.run(Work(graph=plan.left, whole=plan.whole, performer=stages, ports=ports))
