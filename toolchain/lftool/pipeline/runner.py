"""Run a build plan: independent work in parallel, shared work once, a corrupted blob made again once."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.bundle.copying import CorruptBlobError
from lftool.errors import FormatError, IntegrityError, NotReproducibleError, StorageError
from lftool.models.lock import Lock
from lftool.models.recipe import Recipe
from lftool.pipeline.finished import BuiltBundle, find_finished
from lftool.pipeline.model_parts import WEIGHTS, ModelParts
from lftool.pipeline.parallel import in_parallel
from lftool.pipeline.plan import BuildPlan
from lftool.pipeline.quality import measure, require, text_of
from lftool.pipeline.recall import done_already
from lftool.pipeline.runtimes import runtime_pieces
from lftool.pipeline.stages.convert import ROLE, convert
from lftool.pipeline.stages.fetch import fetch_locked
from lftool.pipeline.stages.pack import plan_pack, writer_of
from lftool.pipeline.stages.quantize import QuantizeTask, quantize
from lftool.pipeline.stages.sign import SigningKey, sign
from lftool.pipeline.streaming import stream_targets, to_stream
from lftool.pipeline.tasks import conversions, quantization, weights_header
from lftool.pipeline.tools import tool_of
from lftool.store.durable import durable_file, storage_errors, sweep

if TYPE_CHECKING:
    from lftool.models.checks import CheckSpec
    from lftool.models.digest import Artifact, Digest
    from lftool.models.lock import LockedConvert
    from lftool.pipeline.plan import Step
    from lftool.pipeline.ports import Ports


@frozen(kw_only=True)
class BuildRequest:
    """What to build.

    Attributes:
        lock: Must be fresh.
        parts: What the model is made of.
        key: None for unsigned bundles.
    """

    recipe: Recipe
    lock: Lock
    parts: ModelParts
    output: Path
    key: SigningKey | None


class _Run:
    """One build in progress."""

    def __init__(self, request: BuildRequest, plan: BuildPlan, ports: Ports) -> None:
        self.request = request
        self.parts = request.parts
        self.plan = plan
        self.ports = ports
        self.quantized: dict[str, Artifact] = {}
        self._preparing = threading.Lock()

    def fetch(self, step: Step) -> None:
        for name, file in self.parts.needed_files:
            if file.sha256.hex == step.key:
                if step.cached and self.ports.store.blobs.is_sound(file.artifact):
                    with self.ports.stage("fetch", name, file.path, cached=True):
                        return
                with self.ports.stage("fetch", name, f"{file.path}, {file.size / 1e6:.1f} MB"):
                    fetch_locked(self.request.lock, name, file, self.ports)

    def compile(self, step: Step) -> None:
        said = self.ports.stage("compile", step.key, cached=True) if step.cached else contextlib.nullcontext()
        with said:
            runtime_pieces(step.key, self.request.lock, self.ports)

    def inputs(self) -> None:
        """Make sure that what a quantizer reads is in the store: converted weights, or files of sources."""
        recipe, lock = self.request.recipe, self.request.lock
        with self._preparing:
            converting = lock.convert.get(ROLE)
            files = [] if self._is_there(converting) else self.parts.conversion_files(ROLE)
            for name, file in [*files, *self.parts.imatrix_files]:
                fetch_locked(lock, name, file, self.ports)
            if converting is not None:
                convert(conversions(recipe, self.parts, self.ports)[ROLE], converting, lock, self.ports)

    def _is_there(self, converting: LockedConvert | None) -> bool:
        return converting is not None and done_already(converting, self.ports) is not None

    def convert(self, step: Step) -> None:
        recipe, lock = self.request.recipe, self.request.lock
        role = next(name for name, item in lock.convert.items() if item.action.hex == step.key)
        if step.cached:
            with self.ports.stage("convert", role, step.detail, cached=True):
                pass
        if role == ROLE:
            self.inputs()
        elif not self._is_there(lock.convert[role]):
            for name, file in self.parts.conversion_files(role):
                fetch_locked(lock, name, file, self.ports)
            convert(conversions(recipe, self.parts, self.ports)[role], lock.convert[role], lock, self.ports)

    def stream(self) -> bool:
        """Convert and quantise in one go, where that can be; tell whether it was done."""
        recipe, lock, quantizes = self.request.recipe, self.request.lock, self.plan.of("quantize")
        if ROLE not in lock.convert:
            return False
        first = {name: step.targets[0] for step in quantizes for name in step.targets}
        steps = [step for step in self.plan.of("convert") if step.key == lock.convert[ROLE].action.hex]
        users = {first.get(name, name) for step in steps for name in step.targets}
        targets = to_stream(recipe, lock, self.parts, sorted(users), self.ports)
        if not targets:
            return False
        made = stream_targets(recipe, lock, self.parts, targets, self.ports)
        self.quantized |= {name: made[target] for name, target in first.items() if target in made}
        return True

    def quantize(self, step: Step, threads: int) -> None:
        recipe, lock, target = self.request.recipe, self.request.lock, step.targets[0]
        locked = lock.targets[target].quantize
        if locked is None:
            return
        made = done_already(locked, self.ports)
        if made is not None:
            for name in step.targets:
                with self.ports.stage("quantize", name, step.detail, cached=True):
                    pass
        else:
            self.inputs()
            wanted = quantization(recipe, self.parts, target, self.ports, locked.quantizer)
            task = QuantizeTask(
                target=target,
                backend=recipe.targets[target].backend,
                spec=wanted.spec,
                options=wanted.options,
                inputs=wanted.inputs,
                locked=locked,
            )
            made = quantize(task, tool_of(wanted.registered, self.ports), lock, threads, self.ports)
        for name in step.targets:
            self.quantized[name] = made

    def check(self, check: CheckSpec, target: str) -> None:
        """Raise PolicyError unless a check holds for the quantised weights of a target."""
        recipe, ports = self.request.recipe, self.ports
        reference = self.parts.artifact(WEIGHTS)
        text, backend = text_of(check, ports.files), recipe.targets[target].backend
        made = self.quantized[target]
        require(check, measure(target, backend, text, check.context, made, reference, self.inputs, ports), target)

    def weights(self, target: str) -> Artifact:
        if target in self.quantized:
            return self.quantized[target]
        artifact = self.parts.artifact(WEIGHTS)
        try:
            weights_header(artifact, f"source {self.parts.weights.source!r}", self.ports)
        except FormatError as error:  # of the source, or of a disk that rotted under an unchanged stamp
            try:
                self.ports.store.blobs.check(artifact)
            except IntegrityError as rot:
                raise CorruptBlobError(artifact, rot.message) from error
            raise
        return artifact

    def lock_with_outputs(self, target: str) -> Lock:
        """The lock with this target's quantised weights filled in: a slice names them."""
        locked = self.request.lock.targets[target]
        if locked.quantize is None:
            return self.request.lock
        made = self.quantized[target]
        stage = attrs.evolve(locked.quantize, sha256=made.sha256, size=made.size)
        targets = {**self.request.lock.targets, target: attrs.evolve(locked, quantize=stage)}
        return attrs.evolve(self.request.lock, targets=targets)

    def pack(self, target: str) -> BuiltBundle:
        ports, key = self.ports, self.request.key
        recipe, lock = self.request.recipe, self.lock_with_outputs(target)
        plan = plan_pack(recipe, lock, target, self.weights(target), self.parts.companions, ports)
        path = self.request.output / plan.file_name
        locked = self.request.lock.targets[target].pack
        writer = writer_of(plan, ports)
        remade = ports.records.rebuild
        finished = None if remade else find_finished(path, writer.manifest_digest, locked, key, plan, ports)
        if finished is not None:
            with ports.stage("pack", target, path.name, cached=True):
                return self._built(target, path, writer.manifest_digest, finished.unsigned, finished.artifact)
        with storage_errors("write", path), durable_file(self.request.output, "bundle") as out:
            with ports.stage("pack", target, path.name):
                unsigned = writer.write_body(out)
                self._require(target, writer.manifest_digest, unsigned)
            signatures = []
            if key is not None:
                with ports.stage("sign", target, f"key {key.key_id[:16]}"):
                    signatures = [sign(plan, writer.manifest_digest, unsigned.sha256, key)]
            artifact = writer.finish(out, signatures)
            out.commit(path, mode=0o755 if plan.manifest.prefix.role == "runtime" else 0o644)
        return self._built(target, path, writer.manifest_digest, unsigned, artifact)

    def _built(self, target: str, path: Path, manifest: Digest, unsigned: Artifact, artifact: Artifact) -> BuiltBundle:
        return BuiltBundle(
            target=target,
            path=path,
            manifest=manifest,
            unsigned=unsigned,
            artifact=artifact,
            signed=self.request.key is not None,
            weights=self.quantized.get(target),
        )

    def _require(self, target: str, manifest: Digest, unsigned: Artifact) -> None:
        locked = self.request.lock.targets[target].pack
        if locked is None or locked.output is None:
            return
        if (manifest, unsigned) != (locked.manifest, locked.output):
            raise NotReproducibleError(
                f"targets.{target}, stage pack: the lock names M {locked.manifest} and U {locked.output.sha256}"
                f" ({locked.output.size} bytes), this build made M {manifest} and U {unsigned.sha256} ({unsigned.size} bytes)",
                hints=("a lock of another lftool with the same rules must give the same bytes; please report this",),
            )

    def target_work(self, target: str) -> BuiltBundle:
        """Pack a target; when a blob of the store turns out to be corrupted, set it aside, make it again, pack again."""
        try:
            return self.pack(target)
        except CorruptBlobError as error:
            with contextlib.suppress(IntegrityError, StorageError):  # check() sets it aside
                self.ports.store.blobs.check(error.artifact)
            for step in self.plan.steps:
                if step.stage == "fetch" and target in step.targets:
                    self.fetch(attrs.evolve(step, cached=False))
                if step.stage == "convert" and target in step.targets:
                    self.convert(attrs.evolve(step, cached=False))
                if step.stage == "quantize" and target in step.targets:
                    self.quantize(step, self.ports.threads)
            return self.pack(target)


def prepare_weights(recipe: Recipe, lock: Lock, parts: ModelParts, ports: Ports) -> None:
    """Bring the weights that quantizers start from into the store: fetched, and converted if need be.

    Raises:
        LftoolError: Whatever these stages raise.
    """
    request = BuildRequest(recipe=recipe, lock=lock, parts=parts, output=ports.project, key=None)
    _Run(request, BuildPlan(steps=()), ports).inputs()


def run_build(request: BuildRequest, plan: BuildPlan, ports: Ports) -> list[BuiltBundle]:
    """Do what `plan` says and return the bundles, in the plan's order.

    Raises:
        NotReproducibleError: A stage made other bytes than the lock names.
        PolicyError: A check failed; then no bundle is made.
        LftoolError: Whatever a stage raises; nothing that existed before is changed.
    """
    run = _Run(request, plan, ports)
    quantizes = plan.of("quantize")
    workers = max(1, min(ports.threads, len(quantizes) or 1))
    with storage_errors("create", request.output):
        request.output.mkdir(parents=True, exist_ok=True)
    sweep(request.output)

    in_parallel(run.compile, plan.of("compile"), 1, ports)
    in_parallel(run.fetch, plan.of("fetch"), ports.transfer.files, ports)
    streamed = request.lock.convert[ROLE].action.hex if run.stream() else None
    in_parallel(run.convert, [step for step in plan.of("convert") if step.key != streamed], 1, ports)
    threads = max(1, ports.threads // workers)
    left = [step for step in quantizes if step.targets[0] not in run.quantized]
    in_parallel(lambda step: run.quantize(step, threads), left, workers, ports)
    checked = [
        (check, name)
        for check in request.recipe.measured
        for name in sorted(run.quantized)
        if name in (check.targets or run.quantized)
    ]
    in_parallel(lambda item: run.check(*item), checked, 1, ports)
    return in_parallel(lambda step: run.target_work(step.key), plan.of("pack"), workers, ports)
