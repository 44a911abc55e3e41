"""`lftool lock`: make and upgrade a project's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.api import Notice
from lftool.codec.locks import differences
from lftool.codec.recipes import flatten
from lftool.errors import UsageError
from lftool.models.lock import Lock
from lftool.ops.lock_record import with_outputs
from lftool.ops.lock_summary import summary
from lftool.pipeline.graph.executor import THREADS, Executor
from lftool.pipeline.locking.locker import check_upgrade, empty_lock, make_lock
from lftool.pipeline.locking.new_pins import ALL, Upgrade
from lftool.pipeline.model.parts import model_parts
from lftool.pipeline.model.planned_checks import require_files
from lftool.pipeline.pinned import require_plugins
from lftool.pipeline.sources.local_files import changed_files

if TYPE_CHECKING:
    from collections.abc import Collection

    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports


@frozen(kw_only=True)
class LockResult:
    """The result of locking.

    Attributes:
        lock: The new lock.
        changes: Every field that differs from the old lock, digests too.
        summary: What moved, in the words of the recipe.
        written: Whether the new lock was written.
    """

    lock: Lock
    changes: tuple[str, ...]
    summary: tuple[str, ...]
    written: bool


def _result(old: Lock | None, new: Lock, *, written: bool) -> LockResult:
    from lftool.codec.converter import to_plain  # noqa: PLC0415 - cattrs is heavy; see the start-up test

    before, after = None if old is None else to_plain(old), to_plain(new)
    flat = dict(flatten(before)) if before else {}
    changes = [line for line in differences(flat, dict(flatten(after))) if not line.startswith("recipe.fields")]
    return LockResult(lock=new, changes=tuple(changes), summary=summary(before, after), written=written)


def lock_project(
    project: Project,
    ports: Ports,
    *,
    upgrade: Collection[str] | None = None,
    editable: Collection[str] = (),
    dry_run: bool = False,
    executor: Executor = THREADS,
) -> LockResult:
    """Make or renew the lock of `project`.

    Args:
        project: The project.
        ports: Its ports.
        upgrade: None moves no pin, an empty collection moves all; else names: sources, `tool:NAME`, `plugin:NAME`.
        editable: Distributions of plugins to pin as editable, while they are in development.
        dry_run: Write nothing.
        executor: Runs the graph.

    Raises:
        RecipeError: A check names a file that does not exist.
        LftoolError: Whatever resolving raises; the lock stays unchanged.
    """
    require_plugins(project.recipe.plugins)
    require_files(project.recipe, ports.registry, ports.files)
    old = project.read_lock()
    base = old or empty_lock(project.recipe)
    chosen = Upgrade() if upgrade is None else check_upgrade(upgrade or {ALL}, project.recipe, base)
    chosen = attrs.evolve(chosen, editable=frozenset(editable))
    with ports.store.in_use():
        lock = make_lock(project.recipe, base, chosen, ports, executor)
        unknown = sorted(chosen.editable - lock.plugins.keys())
        if unknown:
            raise UsageError(
                f"--editable: the lock needs no plugin {unknown[0]!r}; it needs {', '.join(sorted(lock.plugins)) or 'none'}"
            )
        for error in changed_files(model_parts(project.recipe, lock), lock, ports.files, ports.store):
            ports.emit(Notice(text=f"{error.message}; {error.hints[0]}", warning=True))
    if dry_run:
        return _result(old, lock, written=False)
    with project.exclusively():
        current = project.read_lock()  # a build may have recorded outputs while this was pinning
        lock = with_outputs(lock, current.targets if current else {})
        ports.check_cancelled()  # last chance: an interrupted run writes nothing
        written = project.write_lock(lock)
    return _result(old, lock, written=written)
