"""`lftool runtime`: get the executable of a compiled runtime, and tell which engines have newer releases."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import BackendType, EngineRelease
from lftool.errors import UsageError
from lftool.host.given_options import factory_arguments
from lftool.host.guarding import guarded
from lftool.models.digest import Digest
from lftool.models.lock import Lock, LockedPlugin, LockedRecipe, LockedRuntime, LockedSource
from lftool.ops.user_configuration import read_configuration
from lftool.pipeline.identity import host_runtime
from lftool.pipeline.tools.archives import resolve_archive
from lftool.pipeline.tools.runtimes import archive_of, compile_runtime, locked_compiled, require_compiled
from lftool.store.durable import durable_file, storage_errors

if TYPE_CHECKING:
    from lftool.host.origin import Origin
    from lftool.host.registry import Registry
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports

NAME = "native"


def releases(registry: Registry) -> tuple[EngineRelease, ...]:
    """Return the engines of the installed backends with their newest releases, by name.

    Raises:
        UnavailableError: A plugin does not know where releases are listed.
        FetchError: The list cannot be read.
    """
    options = read_configuration().backends
    found: dict[str, EngineRelease] = {}
    for item in registry.all(BackendType):
        record = item.record
        where = f"config.toml: $.backends.{record.name}"
        arguments = factory_arguments(record, options.get(record.name, {}), "backend", where, UsageError)
        with guarded(item.origin):
            backend = record.factory(*arguments)
            if hasattr(backend, "releases"):
                found |= {release.name: release for release in backend.releases()}
    return tuple(found[name] for name in sorted(found))


@frozen(kw_only=True)
class BuiltRuntime:
    """An executable in the store.

    Attributes:
        semantics: Name and number, such as `native-cpu/1`.
        locked: Its lock entry.
        pinned: Whether the project's lock pins it.
        path: Its path in the store.
    """

    semantics: str
    locked: LockedRuntime
    pinned: bool
    path: Path


def lock_of(origin: Origin, archive: LockedSource, ports: Ports) -> Lock:
    """Return a lock that pins only the installed plugins for compiling and fetching."""
    origins = [origin, ports.registry.source(archive.uri.partition(":")[0]).origin]
    plugins = {
        item.distribution: LockedPlugin(version=item.version, sha256=ports.registry.digest(item))
        for item in origins
        if not item.is_builtin
    }
    return Lock(recipe=LockedRecipe(sha256=Digest.of(b"")), sources={}, plugins=plugins, targets={})


def build_runtime(backend: str, project: Project | None, ports: Ports) -> BuiltRuntime:
    """Return the native runtime of a backend: the one in the project's lock, or else what this machine compiles.

    Raises:
        RecipeError: No installed plugin has a native runtime.
        UnavailableError: No plugin has one for that backend, or it cannot be compiled here.
        NotReproducibleError: This machine compiles another executable than the lock names.
    """
    registered = ports.registry.runtime(NAME, backend)
    semantics = registered.record.semantics
    lock = None if project is None else project.read_lock()
    with ports.store.in_use():
        if lock is not None and semantics in lock.runtimes:
            output, pinned, locked = (
                require_compiled(semantics, registered, lock, ports),
                True,
                lock.runtimes[semantics],
            )
        else:
            archive = resolve_archive(archive_of(registered), None, semantics, ports)
            unpinned = lock_of(registered.origin, archive, ports)
            made = compile_runtime(registered, archive, unpinned, ports)
            output, pinned, locked = made.output, False, locked_compiled(made, archive)
        ports.store.actions.put(host_runtime(semantics), {"executable": output})  # what `lftool run` starts here
        return BuiltRuntime(
            semantics=semantics, locked=locked, pinned=pinned, path=ports.store.blobs.require(output, semantics)
        )


def write_executable(path: Path, destination: Path) -> None:
    """Copy an executable out of the store.

    Raises:
        StorageError: It cannot be written; an existing file is unchanged.
    """
    with (
        storage_errors("write", destination),
        durable_file(destination.parent, "extract") as out,
        path.open("rb") as file,
    ):
        shutil.copyfileobj(file, out.file, 1 << 20)
        out.commit(destination, mode=0o755)
