"""What stages work through: store, registry, child processes, events, and the cancellation signal."""

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

if TYPE_CHECKING:
    from lftool.host.isolated import Isolated
    from lftool.transfer.remote_store import CheckedStore  # noqa: TC004 - loaded only if there is one


@define
class RunningStage:
    """A stage in progress; `detail` is reported when it has succeeded."""

    detail: str


@define(kw_only=True)
class Ports:
    """The outside world, as one build sees it.

    Attributes:
        project: Folder of the recipe.
        emit: Receives events; it never makes a build fail.
        files: Opens files in the project and the user's roots.
        credentials: The user's credentials, by host.
        source_options: Name of a source to its options in the recipe; those in a lock are for comparison only.
        threads: Number of threads for one stage in total.
        online: Whether remote sources may be contacted.
        transfer: The rules of fetching.
        remote_store: Checked for blobs before their source; None if there is none.
        records: Decides which outputs count as made.
        load: Whether to try loading a model before locking it.
        clock: Seconds, for durations shown to users; never for anything that is built.
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
        """Plugin objects whose calls each run in a child process."""
        from lftool.host.isolated import Isolated  # noqa: PLC0415 - a finished build calls none

        rules = attrs.evolve(self.worker_rules, notify=self.emit)
        return Isolated(self.store.temporary, self.workers, rules)

    @contextlib.contextmanager
    def stage(self, name: str, target: str, detail: str = "", *, cached: bool = False) -> Iterator[RunningStage]:
        """Report the start of a stage to observers, and its duration if the block succeeds.

        Args:
            name: The stage: `fetch`, `convert`, …
            target: The target, source or role.
            detail: Details to report.
            cached: Whether its output is there already.
        """
        started, running = self.clock(), RunningStage(detail)
        self.emit(StageStarted(stage=name, target=target, detail=detail, cached=cached))
        yield running
        seconds = 0.0 if cached else self.clock() - started
        self.emit(StageFinished(stage=name, target=target, seconds=seconds, detail=running.detail, cached=cached))

    def cancel(self) -> None:
        """Stop child processes, and make running stages stop soon."""
        self.cancelled.set()
        self.workers.stop()

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises:
            KeyboardInterrupt: The build was cancelled before or during the wait.
        """
        if seconds:
            self.cancelled.wait(seconds)
        self.check_cancelled()

    def check_cancelled(self) -> None:
        """Raise KeyboardInterrupt if the build has been cancelled."""
        if self.cancelled.is_set():
            raise KeyboardInterrupt
