"""Runtimes: frozen ones ship with their plugin; compiled ones come from a store or a local compiler."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import LayoutType, PlannedMember, RuntimeType, TensorDone
from lftool.errors import LockError, NotReproducibleError, RecipeError, UnavailableError
from lftool.host.guarding import guarded
from lftool.models.digest import Artifact, Digest
from lftool.models.lock import LockedRuntime
from lftool.pipeline.identity import compile_action, runtime_digest
from lftool.pipeline.pinned import require_pinned_plugin, require_pinned_runtime
from lftool.pipeline.sources.fetch import bring
from lftool.pipeline.tools.identifying import identify

if TYPE_CHECKING:
    from lftool.api import RuntimeParts, ToolArchive
    from lftool.host.registry import Registered, Registry
    from lftool.models.lock import Lock, LockedSource
    from lftool.models.recipe import TargetSpec
    from lftool.pipeline.ports import Ports

NONE = "none"
EXECUTABLE = "executable"  # name of a compilation's output in records
_ELSEWHERE = (
    "take the executable from a machine that you trust: `lftool vendor` there, `--vendor PATH --trust-vendor` here",
    "or from a remote store whose records you trust: LFTOOL_REMOTE_STORE_ACTIONS=1",
)


@frozen(kw_only=True)
class Pieces:
    """The parts that a runtime adds to a bundle, all in the store."""

    prefix: Artifact
    members: tuple[PlannedMember, ...] = ()


@frozen(kw_only=True)
class Compiled:
    """An executable, and the versions of compiler and libraries that made it."""

    output: Artifact
    toolchain: str


def runtime_of(spec: TargetSpec, registry: Registry, pinned: str | None = None) -> Registered[RuntimeType] | None:
    """Return the runtime that a target needs: the recipe's choice, or else the layout's default; None if it needs none.

    Args:
        spec: The target.
        registry: What is installed.
        pinned: Semantics that the lock pins; ignored if they belong to another runtime.

    Raises:
        RecipeError: Unknown layout or runtime, or the two do not fit together.
        UnavailableError: The pinned number is not installed.
    """
    layout = registry.get(LayoutType, spec.layout).record
    if spec.runtime not in {None, NONE} and layout.default_runtime is None:
        raise RecipeError(f"layout {spec.layout!r} has no runtime; drop `runtime = {json.dumps(spec.runtime)}`")
    if spec.runtime == NONE and layout.default_runtime is not None:
        raise RecipeError(
            f"layout {spec.layout!r} starts by itself and needs a runtime", hints=('or use `layout = "gguf"`',)
        )
    name = spec.runtime or layout.default_runtime
    return None if name is None or name == NONE else registry.runtime(name, spec.backend, pinned)


def frozen_parts(registered: Registered[RuntimeType]) -> RuntimeParts:
    """Return the bytes of a frozen runtime.

    Raises:
        PluginError: The plugin failed.
    """
    with guarded(registered.origin):
        parts: RuntimeParts = registered.record.factory().parts()  # type: ignore[union-attr]  # the record is not `compiled`
    return parts


def archive_of(registered: Registered[RuntimeType]) -> ToolArchive:
    """Return the archive from which a runtime is compiled.

    Raises:
        PluginError: The plugin failed.
    """
    with guarded(registered.origin):
        archive = registered.record.factory().tool().archive  # type: ignore[union-attr]  # the record is `compiled`
        if archive is None:
            raise TypeError("a compiled runtime names the archive of its sources")
        return archive


def toolchain_of(registered: Registered[RuntimeType]) -> str:
    """Return the versions of this machine's compiler and libraries for a runtime.

    Raises:
        UnavailableError: This machine has no suitable compiler.
        PluginError: The plugin failed.
    """
    with guarded(registered.origin):
        found: str = registered.record.factory().toolchain()  # type: ignore[union-attr]  # the record is `compiled`
        return found


def compile_action_of(registered: Registered[RuntimeType], toolchain: str, ports: Ports) -> Digest:
    """Return the key for the executable that a toolchain compiles; covers the plugin's files and archive."""
    _, files = identify(registered, ports)
    return compile_action(registered.record.semantics, toolchain, files, archive_of(registered).sha256)


def compile_runtime(registered: Registered[RuntimeType], archive: LockedSource, lock: Lock, ports: Ports) -> Compiled:
    """Return the executable that this machine compiles, cached or newly compiled.

    Raises:
        UnavailableError: There is no suitable compiler, or it failed.
        LockError: The lock names a source archive other than the plugin's.
        IntegrityError: The source of the archive delivers other bytes than the pinned ones.
    """
    semantics = registered.record.semantics
    wanted = archive_of(registered)
    from lftool.pipeline.tools.archives import require_archive, unpacked  # noqa: PLC0415 - most builds do not compile

    require_archive(archive, wanted, semantics)
    toolchain = toolchain_of(registered)
    action = compile_action_of(registered, toolchain, ports)
    with ports.store.doing(action):
        known = ports.records.own(action, EXECUTABLE, None)
        if known is not None and ports.store.blobs.is_sound(known.output):
            return Compiled(output=known.output, toolchain=toolchain)
        with ports.stage("compile", semantics, toolchain) as running:
            sources = unpacked(wanted, archive, semantics, lock, ports)
            path = ports.store.blobs.require(sources, f"the sources of {semantics}")

            def progress(what: str, done: int, count: int) -> None:
                ports.emit(TensorDone(stage="compile", target=semantics, tensor=what, index=done, count=count))

            made = ports.store.blobs.put_with(
                lambda out: ports.isolated.compile(registered, path, out, ports.threads, progress), lambda _: None
            )
            running.detail = f"{made.size / 1e6:.1f} MB"
        ports.records.put(action, {EXECUTABLE: made})
    return Compiled(output=made, toolchain=toolchain)


def locked_runtime(parts: RuntimeParts) -> LockedRuntime:
    """Return the lock entry of a frozen runtime."""
    return LockedRuntime(sha256=runtime_digest(Digest.of(parts.prefix), parts.members))


def locked_compiled(made: Compiled, archive: LockedSource) -> LockedRuntime:
    """Return the lock entry of a compiled runtime."""
    return LockedRuntime(
        sha256=runtime_digest(made.output.sha256, ()),
        executable=made.output.sha256,
        size=made.output.size,
        toolchain=made.toolchain,
        archive=archive,
    )


def require_compiled(semantics: str, registered: Registered[RuntimeType], lock: Lock, ports: Ports) -> Artifact:
    """Return the executable that the lock pins, in the store: compiled here earlier, vouched for, or compiled now.

    A blob in the store with its digest proves nothing: a lock could name any file.

    Raises:
        LockError: The lock names a source archive other than the plugin's.
        NotReproducibleError: This machine compiles a different executable.
        UnavailableError: There is no suitable compiler, or the plugin is not the pinned one.
    """
    locked = lock.runtimes[semantics]
    if locked.output is None or locked.archive is None:
        raise LockError(f"runtime {semantics}: the lock names no executable", hints=("lock again: lftool lock",))
    require_pinned_plugin(registered.origin, lock, ports)
    from lftool.pipeline.tools.archives import require_archive  # noqa: PLC0415 - as above

    require_archive(locked.archive, archive_of(registered), semantics)
    if made_already(semantics, registered, lock, ports) and bring(locked.output, semantics, EXECUTABLE, ports):
        return locked.output
    try:
        made = compile_runtime(registered, locked.archive, lock, ports)
    except UnavailableError as error:
        raise UnavailableError(error.message, hints=(*error.hints, *_ELSEWHERE)) from error
    if made.output != locked.output:
        raise NotReproducibleError(
            f"runtime {semantics}: the lock names sha256 {locked.executable}, this machine compiled {made.output.sha256}",
            hints=(
                f"the lock was made with {locked.toolchain}; this machine has {made.toolchain}",
                *_ELSEWHERE,
                f"or accept what is compiled here: lftool lock --upgrade tool:{semantics}",
            ),
        )
    return made.output


def made_already(semantics: str, registered: Registered[RuntimeType], lock: Lock, ports: Ports) -> bool:
    """Return whether records that count show that the locked executable was compiled from the locked inputs."""
    locked = lock.runtimes[semantics]
    if locked.toolchain is None or locked.output is None:
        return False
    action = compile_action_of(registered, locked.toolchain, ports)
    return ports.records.vouched(action, EXECUTABLE, locked.output) is not None


def runtime_contents(semantics: str, lock: Lock, ports: Ports) -> tuple[Artifact, dict[str, Artifact]]:
    """Return the parts that the pinned runtime adds to a bundle: the prefix, and path to member.

    Raises:
        UnavailableError: It is not installed, or differs from the pinned one.
    """
    output = lock.runtimes[semantics].output
    if output is not None:
        return output, {}
    pieces = runtime_pieces(semantics, lock, ports)
    return pieces.prefix, {member.path: member.artifact for member in pieces.members}


def runtime_pieces(semantics: str, lock: Lock, ports: Ports) -> Pieces:
    """Return the parts that the pinned runtime adds to a bundle, in the store.

    Raises:
        LftoolError: It is not installed, differs from the pinned one, or cannot be compiled.
    """
    registered = ports.registry.pinned_runtime(semantics)
    if registered.record.compiled:
        return Pieces(prefix=require_compiled(semantics, registered, lock, ports))
    require_pinned_plugin(registered.origin, lock, ports)
    parts = frozen_parts(registered)
    require_pinned_runtime(semantics, lock.runtimes[semantics], locked_runtime(parts))
    blobs = ports.store.blobs
    members = tuple(
        PlannedMember(path=member.path, role=member.role, artifact=blobs.put_bytes(member.data, member.path))
        for member in parts.members
    )
    return Pieces(prefix=blobs.put_bytes(parts.prefix, "runtime"), members=members)
