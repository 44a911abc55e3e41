"""`lftool lock --check`: is the lock the recipe's, and of the files beside it? Offline, no plugin loaded.

It takes milliseconds, but for local files that nobody has hashed since something touched them.
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
    """Check that files beside the recipe are those that the lock pins.

    Raises:
        IntegrityError: One has other bytes.
        LockError: There is no lock, or it cannot be read.
    """
    lock = project.require_lock()
    require_unchanged(model_parts(project.recipe, lock), lock, files, store)


def check_lock(project: Project) -> Lock:
    """Return the lock if it is the lock of the recipe; offline, in milliseconds, no plugin loaded.

    Raises:
        LockError: Missing, malformed or stale; the message lists every difference.
        RecipeError: A check of a built-in kind is wrong.
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
