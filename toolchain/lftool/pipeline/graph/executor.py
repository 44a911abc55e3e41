"""Run a graph: order, threads, memory, the first failure, and lost blobs. The performer carries out the steps."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen

from lftool.api import WorkStopped
from lftool.errors import IntegrityError, StorageError
from lftool.pipeline.graph.steps import Graph, Product
from lftool.pipeline.parallel import next_of
from lftool.pipeline.ports import Ports
from lftool.store.cas import CorruptBlobError, MissingBlobError

if TYPE_CHECKING:
    from lftool.models.digest import Artifact
    from lftool.pipeline.graph.steps import Step

Results = Mapping["Product", Any]


class Performer(Protocol):
    """Carries out steps. For a step that was done before, it only looks up the result."""

    def perform(self, step: Step, made: Results, threads: int) -> Results:
        """Carry out a step.

        Args:
            step: The step; all its inputs have been made or were there.
            made: The products made so far.
            threads: Number of threads for the step.

        Raises:
            MissingBlobError: An input blob is missing from the store; the step can run once it has been restored.
            CorruptBlobError: An input blob is corrupted; the step can run once it has been restored.
            LftoolError: Whatever the step raises.
        """

    def memory_bytes(self, step: Step, made: Results) -> int:
        """Return how much memory the step takes, as far as it depends on the model."""


@define
class Work:
    """A graph that is being run.

    Attributes:
        graph: The steps to run.
        whole: The unpruned graph, which shows the step that can restore a lost product.
        performer: Carries out the steps.
        ports: The store, and the cancellation signal.
        made: The products made so far.
    """

    graph: Graph
    whole: Graph
    performer: Performer
    ports: Ports
    made: dict[Product, Any] = field(factory=dict)
    _begun: set[str] = field(factory=set)

    def ready(self) -> list[Step]:
        """Return the steps that can run now and have not started."""
        waiting = [step for step in self.graph if step.name not in self._begun]
        coming = {product for step in self.graph for product in step.makes} - self.made.keys()
        return [step for step in waiting if not coming.intersection(step.needs)]

    def begin(self, step: Step) -> None:
        """Mark a step as started, so that it is no longer ready."""
        self._begun.add(step.name)

    def do(self, step: Step, threads: int) -> None:
        """Carry out a step that is ready; if a blob turns out to be lost, make it again, once.

        Raises:
            LftoolError: Whatever the step raises.
        """
        self.made.update(self._performed(step, threads, frozenset()))

    def _performed(self, step: Step, threads: int, lost: frozenset[Artifact]) -> Results:
        try:
            return self.performer.perform(step, self.made, threads)
        except (MissingBlobError, CorruptBlobError) as error:
            artifact = error.artifact
            if artifact in lost:
                raise
        with contextlib.suppress(IntegrityError, StorageError):  # sets it aside, if it is there
            self.ports.store.blobs.check(artifact)
        maker = self._maker(artifact)
        if maker is not None and maker.name != step.name:
            self._performed(maker, threads, lost | {artifact})
        return self._performed(step, threads, lost | {artifact})

    def _maker(self, artifact: Artifact) -> Step | None:
        for step in self.whole:
            outputs = [step.output, *(getattr(self.made.get(product), "output", None) for product in step.makes)]
            if artifact in outputs:
                return step
        return None


class Executor(Protocol):
    """Runs graphs. It decides when and where each step runs and with how many threads, never what a step does."""

    def run(self, work: Work) -> None:
        """Run all steps.

        Raises:
            LftoolError: The first error of a step; steps that have not started are not run.
        """


def _physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@frozen(kw_only=True)
class Threads:
    """Runs steps on threads of this process.

    Files are fetched in parallel. Quantisations and bundles run in parallel and share the processors; a step that
    uses all processors runs alone. A step waits if its memory does not fit next to the running ones.

    Attributes:
        memory: Limit in bytes for the memory of all running steps.
    """

    memory: int = field(factory=_physical_memory)

    def run(self, work: Work) -> None:
        """Run all steps. May raise as `Executor.run` does."""
        room = _Room(ports=work.ports, graph=work.graph, memory=self.memory)
        running: dict[Future[None], Step] = {}
        finished: SimpleQueue[Future[None]] = SimpleQueue()
        slots = work.ports.threads + work.ports.transfer.files + 1
        with ThreadPoolExecutor(slots, thread_name_prefix="stage") as pool:
            try:
                for _ in work.graph:
                    for step in room.admitted(work):
                        work.begin(step)
                        future = pool.submit(work.do, step, room.threads(step))
                        running[future] = step
                        future.add_done_callback(finished.put)
                    assert running  # noqa: S101 - a graph has no cycle, so some step can always begin
                    future = next_of(finished)
                    room.leave(running.pop(future))
                    future.result()
            except BaseException:
                for future in running:
                    future.cancel()
                work.ports.cancel()
                work.ports.emit(WorkStopped())
                raise


@define(kw_only=True)
class _Room:
    """The resources that steps share: connections, processors, memory."""

    ports: Ports
    graph: Graph
    memory: int
    taken: dict[str, tuple[str, int, int]] = field(factory=dict)  # step to share, threads and bytes

    def threads(self, step: Step) -> int:
        """The number of threads that a step may use."""
        if step.share != "part":
            return self.ports.threads
        alike = sum(other.stage == step.stage and not other.cached for other in self.graph)
        return max(1, self.ports.threads // max(1, min(alike, self.ports.threads)))

    def admitted(self, work: Work) -> list[Step]:
        """Reserve resources for steps that may start, in graph order; none overtakes one waiting for processors."""
        found, full = [], False
        for step in work.ready():
            network = step.share == "network"
            if network:
                fits = sum(share == "network" for share, _, _ in self.taken.values()) < self.ports.transfer.files
                wanted = (step.share, 0, 0)
            else:
                threads = 0 if step.cached else self.threads(step)
                size = 0 if step.cached else work.performer.memory_bytes(step, work.made)
                busy = sum(count for _, count, _ in self.taken.values())
                used = sum(count for _, _, count in self.taken.values())
                fits = not full and (not busy or (busy + threads <= self.ports.threads and used + size <= self.memory))
                full = full or not fits
                wanted = (step.share, threads, size)
            if fits:
                self.taken[step.name] = wanted
                found.append(step)
        return found

    def leave(self, step: Step) -> None:
        """Release the resources of a step."""
        del self.taken[step.name]


THREADS = Threads()
