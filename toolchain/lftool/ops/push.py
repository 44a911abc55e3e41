"""`lftool cache push`: upload what a lock pins, and what was built from it, to the remote store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from lftool.errors import FetchError, UsageError
from lftool.models.digest import Artifact, Digest
from lftool.ops.fetch import fetch_project, locked_files
from lftool.ops.lock_check import check_lock
from lftool.pipeline.model.parts import WEIGHTS
from lftool.pipeline.parallel import in_parallel
from lftool.pipeline.sources.fetch import FetchListener
from lftool.pipeline.sources.guarded_store import PLACE
from lftool.pipeline.tools.runtimes import EXECUTABLE, compile_action_of

if TYPE_CHECKING:
    from lftool.models.lock import Lock
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports


@frozen(kw_only=True)
class Pushed:
    """The result of a push.

    Attributes:
        files: Number of blobs uploaded.
        bytes: Their size in bytes, before compression.
        present: Number of blobs that the store already had.
        unbuilt: Targets whose quantised weights are not on this machine.
    """

    files: int
    bytes: int
    present: int
    unbuilt: tuple[str, ...]


@frozen(kw_only=True)
class _Output:
    """An output that this machine made. Its record is uploaded, and its bytes if they were kept."""

    title: str
    name: str
    action: Digest
    artifact: Artifact


def _outputs(lock: Lock, ports: Ports) -> tuple[list[_Output], tuple[str, ...]]:
    """Return the lock's outputs that this machine made, and the targets without one."""
    found: dict[Digest, _Output] = {}
    unbuilt = []
    asked: list[tuple[str, Digest, str, Artifact | None]] = [
        (f"convert.{role}", stage.action, WEIGHTS, stage.output) for role, stage in sorted(lock.convert.items())
    ]
    for name, runtime in sorted(lock.runtimes.items()):
        if runtime.output is not None:
            action = compile_action_of(ports.registry.pinned_runtime(name), runtime.toolchain or "", ports)
            asked.append((name, action, EXECUTABLE, runtime.output))
    for title, target in sorted(lock.targets.items()):
        if target.quantize is not None:
            asked.append((title, target.quantize.action, WEIGHTS, target.quantize.output))
    for title, action, name, expected in asked:
        made = ports.records.own(action, name, expected)
        if made is None:
            unbuilt.append(title)
        else:
            found.setdefault(action, _Output(title=title, name=name, action=action, artifact=made.output))
    return list(found.values()), tuple(title for title in unbuilt if title in lock.targets)


def push_project(project: Project, ports: Ports, *, force: bool = False) -> Pushed:
    """Upload every pinned file and every output of the project's lock that the remote store lacks; with `force`, all.

    Raises:
        UsageError: There is no remote store.
        LockError: The lock is missing or unreadable, or does not belong to the recipe.
        FetchError: A source cannot deliver, or the store does not accept something.
        IntegrityError: A blob on this machine is corrupted.
    """
    remote = ports.remote_store
    if remote is None:
        raise UsageError("no remote store is configured", hints=(f"name one: {PLACE}=https://HOST/PATH",))
    fetch_project(project, ports)
    lock = check_lock(project)
    outputs, unbuilt = _outputs(lock, ports)
    wanted = [(name, file.path, file.artifact) for name, file in locked_files(lock)]
    kept = [output for output in outputs if ports.store.blobs.holds(output.artifact)]
    wanted += [(output.title, output.name, output.artifact) for output in kept]

    def push(item: tuple[str, str, Artifact]) -> bool:
        name, path, artifact = item
        try:
            listener = FetchListener(source=name, path=path, ports=ports)
            return remote.push(artifact, f"{name}/{path}", ports.threads, listener, force=force)
        except FetchError as error:
            raise FetchError(f"cannot push {name}/{path}: {error.message}", hints=error.hints) from error

    with ports.store.in_use():
        sent = in_parallel(push, wanted, ports.transfer.files, ports)
        for output in outputs:  # after its blob, so that a record's output is always there
            listener = FetchListener(source=output.title, path=output.name, ports=ports)
            try:
                remote.remember(output.action, {output.name: output.artifact}, listener)
            except FetchError as error:  # such as a cache that accepts only Bazel's actions
                listener.notice(f"{error.message}; this action will not be found in the store")
    return Pushed(
        files=sum(sent),
        bytes=sum(artifact.size for done, (_, _, artifact) in zip(sent, wanted, strict=True) if done),
        present=len(wanted) - sum(sent),
        unbuilt=unbuilt,
    )
