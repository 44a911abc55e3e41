"""`lftool build`: from a fresh lock to bundles. Records outputs the first time, and compares with them ever after."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.api import Notice
from lftool.errors import LockError, StorageError, UsageError, instead_of
from lftool.models.lock import LOCK_NAME
from lftool.models.recipe import SignSpec
from lftool.ops.lock_check import check_lock
from lftool.ops.lock_record import record_outputs
from lftool.pipeline.building.builds import BuildRequest, plan_build, run_build
from lftool.pipeline.graph.executor import THREADS, Executor
from lftool.pipeline.locking.staleness import staleness
from lftool.pipeline.model.parts import model_parts
from lftool.pipeline.pinned import missing_plugins, naming_missing_plugins, require_plugins
from lftool.pipeline.sources.local_files import require_unchanged
from lftool.pipeline.stages.recall import recall_outputs
from lftool.pipeline.stages.signature import open_key
from lftool.store.collect import collect_if_due

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.models.lock import Lock
    from lftool.ops.project import Project
    from lftool.pipeline.graph.steps import Graph
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.stages.finished import BuiltBundle

DEFAULT_CACHE_BYTES = 100 * 1024**3


@frozen(kw_only=True)
class BuildOptions:
    """How to build.

    Attributes:
        targets: Names of targets; all if empty.
        output: Folder for bundles.
        locked: Require a fresh lock that holds every output, and do not write it.
        relock: Make or renew the lock if needed, as on a terminal; otherwise a missing or stale lock is an error.
        rebuild: Reuse nothing: run every stage, and compare with the lock.
        sign: Sign if the recipe names a key.
        sign_key: Path of the user's private key; overrides the recipe's.
        cache_bytes: Size limit of the store, enforced after the build.
        executor: Runs the graph.
    """

    targets: tuple[str, ...] = ()
    output: Path = Path("dist")
    locked: bool = False
    relock: bool = False
    rebuild: bool = False
    sign: bool = True
    sign_key: Path | None = None
    cache_bytes: int = DEFAULT_CACHE_BYTES
    executor: Executor = THREADS


def _chosen(project: Project, wanted: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in wanted if name not in project.recipe.targets]
    if unknown:
        raise UsageError(f"the recipe has no target {unknown[0]!r}; {instead_of(unknown[0], project.recipe.targets)}")
    return tuple(sorted(set(wanted))) or tuple(sorted(project.recipe.targets))


def _fresh_lock(project: Project, ports: Ports, options: BuildOptions) -> Lock:
    if options.relock and not options.locked:
        lock = project.read_lock()
        if lock is None or staleness(project.recipe, lock):
            why = "is missing" if lock is None else "is stale"
            ports.emit(Notice(text=f"{LOCK_NAME} {why}; locking"))
            from lftool.ops.lock import lock_project  # noqa: PLC0415 - most builds need no locking

            return lock_project(project, ports, executor=options.executor).lock
        return lock
    return check_lock(project)


def _editable(lock: Lock, ports: Ports, *, locked: bool) -> None:
    """Warn, or with `locked` refuse, if plugins of a lock are editable, since another machine may build other bytes."""
    names = sorted(name for name, plugin in lock.plugins.items() if plugin.editable)
    if not names:
        return
    if locked:
        raise LockError(
            f"{LOCK_NAME} pins {', '.join(names)} as editable; --locked needs plugins pinned by sha256",
            hints=(f"pin what is installed: lftool lock --upgrade plugin:{names[0]}",),
        )
    ports.emit(Notice(text=f"editable plugins: {', '.join(names)}; other machines may build other bytes", warning=True))


def _require_outputs(lock: Lock, targets: Sequence[str]) -> None:
    for name in targets:
        locked = lock.targets[name]
        stages = {"quantize": locked.quantize, "metadata": locked.metadata, "pack": locked.pack}
        for stage, entry in stages.items():
            if entry is not None and entry.output is None:
                raise LockError(
                    f"{LOCK_NAME} has no output for targets.{name}, stage {stage}; --locked needs it to compare with",
                    hints=("build once without --locked, or `lftool lock --record BUNDLE`, and commit the lock",),
                )


def _request(project: Project, lock: Lock, targets: Sequence[str], options: BuildOptions) -> BuildRequest:
    return BuildRequest(
        recipe=project.recipe,
        lock=lock,
        parts=model_parts(project.recipe, lock),
        targets=targets,
        output=options.output.absolute(),
        signed=options.sign,
        rebuild=options.rebuild,
    )


def with_own_key(project: Project, key: Path | None) -> Project:
    """Return a project whose bundles a key of the user's signs, also if its recipe names none; the lock stays what it is."""
    if key is None or project.recipe.sign is not None:
        return project
    sign = SignSpec(key=f"file:{key.name}")  # the key itself is the user's
    return attrs.evolve(project, recipe=attrs.evolve(project.recipe, sign=sign))


def plan_project(project: Project, ports: Ports, options: BuildOptions) -> Graph:
    """Return the remaining steps of a build, without writing anything.

    Raises:
        LockError: The lock is missing or stale.
    """
    lock = check_lock(project)
    targets = _chosen(project, options.targets)
    if options.locked:
        _require_outputs(lock, targets)
    ports.records.rebuild = options.rebuild
    for text in missing_plugins(lock):
        ports.emit(Notice(text=text, warning=True))
    return plan_build(_request(project, lock, targets, options), ports).left


def _record(project: Project, lock: Lock, built: Sequence[BuiltBundle], ports: Ports) -> None:
    """Write outputs to the lock. In a read-only project, skip that: the user asked for the bundles."""
    try:
        record_outputs(project, lock, built)
    except StorageError as error:
        if getattr(error.__cause__, "errno", None) not in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise
        record = " ".join(f"--record {item.path}" for item in built)
        text = (
            f"{error.message}: {LOCK_NAME} does not name these outputs yet;"
            f" to record them where it is writable: lftool lock {record}"
        )
        ports.emit(Notice(text=text, warning=True))


def build_project(project: Project, ports: Ports, options: BuildOptions) -> list[BuiltBundle]:
    """Build bundles.

    Raises:
        LockError: The lock is missing, stale, or lacks an output that `locked` needs.
        RecipeError: A check names a file that does not exist.
        IntegrityError: A local file differs from the lock.
        NotReproducibleError: A stage made other bytes than the lock names.
        LftoolError: Whatever a stage raises; existing files stay unchanged.
    """
    targets = _chosen(project, options.targets)
    require_plugins(project.recipe.plugins)
    if project.recipe.checks:
        from lftool.pipeline.model.planned_checks import require_files  # noqa: PLC0415 - many recipes have none

        require_files(project.recipe, ports.registry, ports.files)
    with ports.store.in_use(), contextlib.ExitStack() as stack:
        lock = _fresh_lock(project, ports, options)
        stack.enter_context(naming_missing_plugins(lock))
        request = _request(project, lock, targets, options)
        _editable(lock, ports, locked=options.locked)
        if options.locked:
            _require_outputs(lock, targets)
        signing = project.recipe.sign is not None and options.sign
        key = open_key(project.recipe.sign, options.sign_key, ports) if signing and project.recipe.sign else None
        ports.records.rebuild = options.rebuild
        recall_outputs(lock, targets, ports)
        plan = plan_build(request, ports)
        compared = plan.fetched if ports.remote_store is None else []
        require_unchanged(request.parts, lock, ports.files, ports.store, but=compared)
        built = run_build(request, plan, key, ports, options.executor)
        if not options.locked:
            _record(project, lock, built, ports)
    if key is None:
        ports.emit(Notice(text="unsigned: the recipe has no [sign]" if options.sign else "unsigned: --no-sign"))
    collect_if_due(ports.store, options.cache_bytes)
    return built
