"""Find a project, read its recipe and lock, and open the ports for working on it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from lftool.api import ProjectFiles
from lftool.codec.file_lists import FOLDER, attach, detach
from lftool.codec.locks import emit_lock, parse_lock
from lftool.codec.recipes import parse_recipe
from lftool.codec.toml_in import MOST_LOCK_BYTES, read_bytes
from lftool.errors import LockError, RecipeError, UsageError
from lftool.host.given_options import factory_arguments
from lftool.host.guarding import not_ending, plugin_failure
from lftool.host.registry import Registry
from lftool.host.workers import WorkerRules
from lftool.models.lock import LOCK_NAME, RECIPE_NAME
from lftool.models.recipe import Recipe
from lftool.ops.user_configuration import read_configuration
from lftool.ops.user_store import open_store
from lftool.pipeline.ports import Ports
from lftool.pipeline.sources.fetch import FetchListener
from lftool.pipeline.sources.guarded_store import RemoteRecords, remote_store_from_environment
from lftool.store.durable import write_durably
from lftool.store.locking import advisory_lock
from lftool.transfer.fetch_rules import rules_from_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from lftool.api import Event
    from lftool.models.configuration import Configuration
    from lftool.models.lock import Lock


@frozen(kw_only=True)
class Project:
    """A folder with a recipe."""

    root: Path
    recipe: Recipe

    @property
    def lock_path(self) -> Path:
        """Path of the lock, existing or not."""
        return self.root / LOCK_NAME

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Hold the project's lock file during the block, so that no other process changes `lftool.lock` meanwhile."""
        with advisory_lock(self.root / RECIPE_NAME):
            yield

    def read_lock(self) -> Lock | None:
        """Return the lock, or None if there is none.

        Raises:
            LockError: It cannot be read or is malformed.
        """
        if not self.lock_path.exists():
            return None
        lock = parse_lock(read_bytes(self.lock_path, LOCK_NAME, LockError, most=MOST_LOCK_BYTES), LOCK_NAME)
        return attach(lock, lambda path: read_bytes(self.root / path, path, LockError, most=MOST_LOCK_BYTES))

    def write_lock(self, lock: Lock) -> bool:
        """Write `lock` unless the file already has these bytes; return whether it was written.

        Raises:
            StorageError: It cannot be written; the old lock is unchanged.
        """
        main, lists = detach(lock)
        written = False
        for name, data in [*sorted(lists.items()), (LOCK_NAME, emit_lock(main))]:  # the lock last: it names the lists
            path = self.root / name
            written = not path.exists() or path.read_bytes() != data
            if written:
                write_durably(path, data, "lock")
        self._remove_lists(lists)
        return written

    def _remove_lists(self, needed: Collection[str]) -> None:
        """Remove lists of earlier locks once the new lock is written."""
        for path in (self.root / FOLDER).glob("*.toml"):
            if f"{FOLDER}/{path.name}" not in needed:
                path.unlink(missing_ok=True)

    def require_lock(self) -> Lock:
        """Return the lock.

        Raises:
            LockError: It is missing, unreadable or malformed.
        """
        lock = self.read_lock()
        if lock is None:
            raise LockError(f"there is no {LOCK_NAME} in {self.root}", hints=("make one: lftool lock",))
        return lock


def find_project(given: Path | None) -> Project:
    """Return the project in `given`, or in the nearest parent folder with a recipe.

    Raises:
        UsageError: There is no project.
        RecipeError: Its recipe is invalid.
    """
    start = Path(given) if given is not None else Path.cwd()
    candidates = [start] if given is not None else [start, *start.resolve().parents]
    for folder in candidates:
        path = folder / RECIPE_NAME
        if path.is_file():
            recipe = parse_recipe(read_bytes(path, RECIPE_NAME, RecipeError), RECIPE_NAME)
            return Project(root=folder.resolve(), recipe=recipe)
    where = f"in {start}" if given is not None else f"in {start} or any folder above it"
    raise UsageError(f"there is no {RECIPE_NAME} {where}", hints=("write one: lftool init",))


def find_nearest(given: Path | None) -> Project | None:
    """Return the project in `given`, or in the nearest parent folder; None if nothing is given and there is none.

    Raises:
        UsageError: `given` has no project.
        RecipeError: Its recipe is invalid.
    """
    here = Path.cwd().resolve()
    if given is None and not any((folder / RECIPE_NAME).is_file() for folder in (here, *here.parents)):
        return None
    return find_project(given)


def observing(registry: Registry, options: Mapping[str, Mapping[str, Any]]) -> Callable[[Event], None]:
    """Return a function that passes events to every registered observer; an observer that fails is dropped.

    Args:
        registry: Has the observers.
        options: Name of an observer to its options in the user's configuration.

    Raises:
        UsageError: An observer has no such option.
    """
    observers = []
    lock = threading.Lock()
    for registered in registry.observers():
        try:
            record, where = registered.record, f"config.toml: $.observers.{registered.record.name}"
            arguments = factory_arguments(record, options.get(record.name, {}), "observer", where, UsageError)
            observers.append((registered.origin, record.factory(*arguments)))
        except UsageError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - observers only observe: they must not end a build
            _complain(str(plugin_failure(registered.origin, error)))

    def emit(event: Event) -> None:
        for item in list(observers):
            try:
                with not_ending():
                    item[1](event)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - observers only observe: they must not end a build
                with lock:
                    first = item in observers
                    if first:
                        observers.remove(item)
                if first:
                    _complain(str(plugin_failure(item[0], error)))

    return emit


def _complain(text: str) -> None:
    logging.getLogger("lftool").warning("%s", text)


def files_of(project: Project | None, configuration: Configuration) -> ProjectFiles:
    """Return access to the files of a project (or of the current folder without one) and of the user's roots."""
    roots = {name: Path(path) for name, path in configuration.roots.items()}
    return ProjectFiles(project=Path.cwd() if project is None else project.root, roots=roots)


def open_ports(
    project: Project | None,
    *,
    third_party: bool = True,
    online: bool = True,
    threads: int | None = None,
    roots: Mapping[str, str] | None = None,
) -> Ports:
    """Return the ports for work on `project`, or in the current folder without one.

    Args:
        project: The project.
        third_party: Whether to load plugins that are installed.
        online: Whether to contact remote sources.
        threads: Threads to use; by default as many as there are processors.
        roots: Folders that the project may read, besides those in the user's configuration.

    Raises:
        PluginError: Two plugins share a name.
        UsageError: `LFTOOL_REMOTE_STORE` is not a place that a plugin can open.
    """
    registry, store, rules = Registry.discovered(third_party=third_party), open_store(), rules_from_environment()
    own = read_configuration()
    own = attrs.evolve(own, roots={**own.roots, **(roots or {})})
    remote = None
    if online:
        trusted = own.remote_store.trust_records
        remote = remote_store_from_environment(registry, store, rules, trust_records=trusted)
    ports = Ports(
        project=Path.cwd() if project is None else project.root,
        store=store,
        registry=registry,
        emit=observing(registry, own.observers),
        online=online,
        load=os.environ.get("LFTOOL_LOAD") != "0",
        transfer=rules,
        remote_store=remote,
        files=files_of(project, own),
        worker_rules=WorkerRules(
            confine=own.plugins.confine, idle_seconds=float(own.plugins.idle_seconds), backends=own.backends
        ),
        source_options={} if project is None else {name: s.options for name, s in project.recipe.sources.items()},
    )
    if remote is not None:
        listener = FetchListener(source="remote store", path="records", ports=ports)
        ports.records.vouchers = (RemoteRecords(remote=remote, listener=listener),)
    if threads is not None:
        ports.threads = threads
    return ports
