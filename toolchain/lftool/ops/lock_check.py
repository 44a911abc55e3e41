"""`lftool lock --check`: does the lock match the recipe and the local files? Offline, without loading plugins.

It takes milliseconds, plus the time to hash local files that were touched since they were last hashed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import LockError
from lftool.models.lock import LOCK_NAME
from lftool.pipeline.locking.staleness import staleness
from lftool.pipeline.model.parts import model_parts
from lftool.pipeline.sources.local_files import require_unchanged

if TYPE_CHECKING:
    from lftool.api import ProjectFiles
    from lftool.models.lock import Lock
    from lftool.ops.project import Project
    from lftool.store.store import Store


def check_files(project: Project, files: ProjectFiles, store: Store) -> None:
    """Check that local files match the lock.

    Raises:
        IntegrityError: A file has other bytes.
        LockError: The lock is missing or unreadable.
    """
    lock = project.require_lock()
    require_unchanged(model_parts(project.recipe, lock), lock, files, store)


def check_lock(project: Project) -> Lock:
    """Return the lock if it belongs to the recipe: offline, in milliseconds, without loading plugins.

    Raises:
        LockError: Missing, malformed or stale; the message lists every difference.
        RecipeError: A check of a built-in kind is invalid.
    """
    if project.recipe.checks:
        from lftool.pipeline.model.planned_checks import check_builtin_kinds  # noqa: PLC0415 - many recipes have none

        check_builtin_kinds(project.recipe)
    lock = project.require_lock()
    stale = staleness(project.recipe, lock)
    if stale:
        lines = "\n".join(f"  {line}" for line in stale)
        raise LockError(f"{LOCK_NAME} is stale:\n{lines}", hints=("bring it up to date: lftool lock",))
    return lock
