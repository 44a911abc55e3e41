"""pack and sign, as steps: write a bundle to an unnamed file, and name the file once it is complete."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs
from attrs import define, field, frozen

from lftool.bundle.detached import RUNTIME, SIDECAR, WEIGHTS
from lftool.bundle.detached_output import DetachedFiles
from lftool.bundle.writer import BundleWriter, OneFile, Output
from lftool.codec.manifests import emit_manifest
from lftool.errors import FormatError, IntegrityError, NotReproducibleError
from lftool.formats.fallbacks import outcome
from lftool.models.lock import Lock
from lftool.models.recipe import Recipe
from lftool.pipeline.model import parts as roles
from lftool.pipeline.model.parts import ModelParts
from lftool.pipeline.model.weights import weights_header
from lftool.pipeline.ports import Ports
from lftool.pipeline.stages.done import with_output
from lftool.pipeline.stages.finished import BuiltBundle, find_finished
from lftool.pipeline.stages.packing import PackPlan, plan_pack, writer_of
from lftool.pipeline.stages.signature import SigningKey, sign
from lftool.store.cas import CorruptBlobError
from lftool.store.durable import DurableFile, durable_file, storage_errors, sweep

if TYPE_CHECKING:
    from types import TracebackType

    from lftool.models.digest import Artifact, Digest
    from lftool.models.lock import LockedMetadata, LockedQuantize


@frozen(kw_only=True)
class Unsigned:
    """A bundle that has been written, or was found finished.

    Attributes:
        bundle: What is known of the bundle; complete if it was found finished.
        finish: Completes the file being written; None if it was found finished.
    """

    bundle: BuiltBundle
    finish: _Writing | None


@frozen(kw_only=True)
class _Writing:
    """A bundle that is being written.

    Attributes:
        files: Its files, each with name and permissions, in the order in which they get their names.
        output: The same, for the writer.
        close: Closes them.
    """

    plan: PackPlan
    writer: BundleWriter
    files: tuple[tuple[DurableFile, Path, int], ...]
    output: Output
    close: contextlib.ExitStack


@define(kw_only=True)
class Bundling:
    """Packs and signs the bundles of one build. As a context manager, removes files that got no name."""

    recipe: Recipe
    lock: Lock
    parts: ModelParts
    output: Path
    key: SigningKey | None
    ports: Ports
    _open: list[contextlib.ExitStack] = field(factory=list)
    _opening: threading.Lock = field(factory=threading.Lock)

    def __enter__(self) -> Self:
        with storage_errors("create", self.output):
            self.output.mkdir(parents=True, exist_ok=True)
        sweep(self.output)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stack in self._open:
            stack.__exit__(kind, error, trace)

    def pack(self, target: str, quantized: LockedQuantize | None, described: LockedMetadata | None = None) -> Unsigned:
        """Write a bundle without its signature, unless the finished bundle is there.

        Args:
            target: Name of the target.
            quantized: Its quantize stage, with its output; None if weights are not quantised.
            described: Its metadata stage, with its output; None if the weights keep their keys.

        Raises:
            CorruptBlobError: A blob in the store is corrupted.
            NotReproducibleError: The bundle is not the one that the lock names.
        """
        ports = self.ports
        weights = next((stage.output for stage in (described, quantized) if stage is not None and stage.output), None)
        weights = weights or self._checked_weights()
        lock = _with_stages(self.lock, target, quantized, described)
        plan = plan_pack(self.recipe, lock, target, weights, self.parts.companions, ports)
        path, writer = self.output / plan.file_name, writer_of(plan, ports)
        detached = self.recipe.targets[target].detached
        if detached:
            path = self.output / f"{plan.manifest.stem}{SIDECAR}"
        bundle = BuiltBundle(
            target=target,
            path=path,
            manifest=writer.manifest_digest,
            unsigned=weights,
            artifact=weights,
            signed=self.key is not None,
            weights=None if quantized is None else quantized.output,
            source=self.parts.artifact(roles.WEIGHTS),
            described=None if described is None else described.output,
        )
        locked = self.lock.targets[target].pack
        finished = (
            None
            if ports.records.rebuild
            else find_finished(path, writer.manifest_digest, locked, self.key, plan, ports)
        )
        if finished is not None:
            with ports.stage("pack", target, path.name, cached=True):
                found = attrs.evolve(bundle, unsigned=finished.unsigned, artifact=finished.artifact)
                return Unsigned(bundle=found, finish=None)
        stack = contextlib.ExitStack()
        with self._opening:
            self._open.append(stack)
        stack.enter_context(storage_errors("write", path))
        files, out = (_detached if detached else _one_file)(plan, path, stack)
        with ports.stage("pack", target, path.name):
            unsigned = writer.write_body(out)
            self._require(target, writer.manifest_digest, unsigned)
        return Unsigned(
            bundle=attrs.evolve(bundle, unsigned=unsigned, bits=self._bits(weights)),
            finish=_Writing(plan=plan, writer=writer, files=files, output=out, close=stack),
        )

    def sign(self, made: Unsigned) -> BuiltBundle:
        """Sign a bundle, and name its file.

        Raises:
            TrustError: The signature does not verify.
        """
        if made.finish is None or self.key is None:
            return self.finish(made)
        bundle = made.bundle
        with self.ports.stage("sign", bundle.target, f"key {self.key.key_id[:16]}"):
            signature = sign(made.finish.plan, bundle.manifest, bundle.unsigned.sha256, self.key)
        return self.finish(made, signature)

    def finish(self, made: Unsigned, *signatures: bytes) -> BuiltBundle:
        """Name the file of a bundle.

        Raises:
            StorageError: It cannot be written.
        """
        if made.finish is None:
            return made.bundle
        writing = made.finish
        with writing.close:
            artifact = writing.writer.finish(writing.output, list(signatures))
            for file, path, mode in writing.files:
                file.commit(path, mode=mode)
        return attrs.evolve(made.bundle, artifact=artifact)

    def _bits(self, weights: Artifact) -> float:
        """Return the bits per weight of weights in the store."""
        tensors = weights_header(weights, "the weights", self.ports).tensors
        return outcome(tensors, {}, "").bits

    def _checked_weights(self) -> Artifact:
        """Return weights that are packed unchanged."""
        artifact = self.parts.artifact("weights")
        try:
            weights_header(artifact, f"source {self.parts.weights.source!r}", self.ports)
        except FormatError as error:  # a bad source, or a disk that decayed under an unchanged stamp
            try:
                self.ports.store.blobs.check(artifact)
            except IntegrityError as rot:
                raise CorruptBlobError(artifact, rot.message) from error
            raise
        return artifact

    def _require(self, target: str, manifest: Digest, unsigned: Artifact) -> None:
        locked = self.lock.targets[target].pack
        if locked is None or locked.output is None:
            return
        if (manifest, unsigned) != (locked.manifest, locked.output):
            raise NotReproducibleError(
                f"targets.{target}, stage pack: the lock names M {locked.manifest} and U {locked.output.sha256}"
                f" ({locked.output.size} bytes), this build made M {manifest} and U {unsigned.sha256} ({unsigned.size} bytes)",
                hints=("a lock of another lftool with the same rules must give the same bytes; please report this",),
            )


_Files = tuple[tuple[DurableFile, Path, int], ...]


def _one_file(plan: PackPlan, path: Path, stack: contextlib.ExitStack) -> tuple[_Files, Output]:
    """Open the file of a bundle."""
    file = stack.enter_context(durable_file(path.parent, "bundle"))
    return ((file, path, 0o755 if plan.manifest.prefix.role == "runtime" else 0o644),), OneFile(file)


def _detached(plan: PackPlan, path: Path, stack: contextlib.ExitStack) -> tuple[_Files, Output]:
    """Open the files of a detached bundle; the sidecar, at `path`, gets its name last."""
    weights, sidecar = (stack.enter_context(durable_file(path.parent, "bundle")) for _ in range(2))
    files = [(weights, path.with_suffix(WEIGHTS), 0o644), (sidecar, path, 0o644)]
    runtime = None
    if plan.manifest.prefix.role == "runtime":
        runtime = stack.enter_context(durable_file(path.parent, "bundle"))
        files.insert(1, (runtime, path.with_suffix(RUNTIME), 0o755))
    out = DetachedFiles(
        manifest=plan.manifest,
        manifest_bytes=emit_manifest(plan.manifest),
        weights=weights,
        runtime=runtime,
        sidecar=sidecar,
    )
    return tuple(files), out


def _with_stages(lock: Lock, target: str, quantized: LockedQuantize | None, described: LockedMetadata | None) -> Lock:
    """Return the lock with the outputs of a target's stages filled in, since a slice names them."""
    locked = lock.targets[target]
    if quantized is not None and quantized.output is not None and locked.quantize is not None:
        locked = attrs.evolve(locked, quantize=with_output(locked.quantize, quantized.output))
    if described is not None:
        locked = attrs.evolve(locked, metadata=described)
    return attrs.evolve(lock, targets={**lock.targets, target: locked})
