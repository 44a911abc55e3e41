"""What stages work through: store, registry, child processes, events, and the word to stop."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import Factory, define, field

from lftool.api import Credentials, Event, ProjectFiles, StageFinished, StageStarted
from lftool.host.registry import Registry
from lftool.host.workers import WorkerRules, Workers
from lftool.pipeline.action_records import Records
from lftool.pipeline.user_credentials import UserCredentials
from lftool.store.store import Store
from lftool.transfer.fetch_rules import TransferRules
from lftool.transfer.remote_store import CheckedStore

if TYPE_CHECKING:
    from lftool.host.isolated import Isolated


@define
class RunningStage:
    """A stage in progress; `detail` is what is said of it when it has ended well."""

    detail: str


@define(kw_only=True)
class Ports:
    """The outside world, as one build sees it.

    Attributes:
        project: Folder of the recipe.
        emit: Receives events; never fails a build.
        files: Opens files of the project and of the user's roots.
        credentials: The user's, by host.
        source_options: Name of a source to its options, from the recipe; those in a lock are for comparison only.
        threads: How many threads one stage may use in all.
        online: Whether remote sources may be asked.
        transfer: The rules of fetching.
        remote_store: Where to look for blobs before their source is asked; None when there is none.
        records: Which outputs count as made.
        load: Whether an engine tries a model before it is locked.
        clock: Seconds, for durations that are shown; never for anything that is built.
    """

    project: Path
    store: Store
    registry: Registry
    emit: Callable[[Event], None]
    threads: int = field(factory=lambda: len(os.sched_getaffinity(0)))
    online: bool = True
    load: bool = True
    transfer: TransferRules = field(factory=TransferRules)
    remote_store: CheckedStore | None = None
    clock: Callable[[], float] = time.monotonic
    workers: Workers = field(factory=Workers)
    worker_rules: WorkerRules = field(factory=WorkerRules)
    cancelled: threading.Event = field(factory=threading.Event)
    files: ProjectFiles = field(default=Factory(lambda self: ProjectFiles(project=self.project), takes_self=True))
    credentials: Credentials = field(factory=UserCredentials)
    source_options: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    records: Records = field(default=Factory(lambda self: Records(self.store), takes_self=True))

    @property
    def isolated(self) -> Isolated:
        """Plugin objects, each call in a child process."""
        from lftool.host.isolated import Isolated  # noqa: PLC0415 - a build with everything there calls none

        rules = attrs.evolve(self.worker_rules, notify=self.emit)
        return Isolated(self.store.temporary, self.workers, rules)

    @contextlib.contextmanager
    def stage(self, name: str, target: str, detail: str = "", *, cached: bool = False) -> Iterator[RunningStage]:
        """Tell observers that a stage begins, and how long the block took if it ends well.

        Args:
            name: Which stage: `fetch`, `convert`, …
            target: The target, source or role.
            detail: What is said of it.
            cached: Whether its output is there already.
        """
        started, running = self.clock(), RunningStage(detail)
        self.emit(StageStarted(stage=name, target=target, detail=detail, cached=cached))
        yield running
        seconds = 0.0 if cached else self.clock() - started
        self.emit(StageFinished(stage=name, target=target, seconds=seconds, detail=running.detail, cached=cached))

    def cancel(self) -> None:
        """End child processes and make running stages stop soon."""
        self.cancelled.set()
        self.workers.stop()

    def wait(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            KeyboardInterrupt: The build has been cancelled, before or meanwhile.
        """
        if seconds:
            self.cancelled.wait(seconds)
        self.check_cancelled()

    def check_cancelled(self) -> None:
        """Raise KeyboardInterrupt once the build has been cancelled."""
        if self.cancelled.is_set():
            raise KeyboardInterrupt
