"""Take outputs of stages from the remote store instead of making them: those that the lock names, by their digest.

What a lock does not name, a remote store is believed only if the user says so (`LFTOOL_REMOTE_STORE_ACTIONS`). What was
recalled counts for this build alone: the action cache holds only what this machine made itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.pipeline.parallel import in_parallel
from lftool.pipeline.stages.fetch import FetchListener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.models.digest import Artifact, Digest
    from lftool.models.lock import Lock, LockedQuantize
    from lftool.pipeline.ports import Ports
    from lftool.transfer.remote_store import CheckedStore


def _recall(stage: LockedQuantize, target: str, remote: CheckedStore, ports: Ports) -> Artifact | None:
    listener = FetchListener(source=target, path="weights", ports=ports)
    known = ports.store.actions.get(stage.action)
    if known is not None and stage.output in {None, known["weights"]}:
        return None  # the build finds it, and checks it
    wanted = stage.output
    if wanted is None:
        outputs = remote.recall(stage.action, listener) or {}
        wanted = outputs.get("weights")
    if wanted is None:
        return None
    return wanted if ports.store.blobs.is_sound(wanted) or remote.fetch(wanted, listener) else None


def recall_outputs(lock: Lock, targets: Sequence[str], ports: Ports) -> dict[Digest, Artifact]:
    """Return action to output of the quantize stages that need not be done; the outputs are in the store.

    Converted weights come into the store as well, if a stage that must be done reads them.

    Args:
        lock: The lock.
        targets: Names of targets.
        ports: Without a remote store nothing is recalled.
    """
    remote = ports.remote_store
    if remote is None:
        return {}
    stages: dict[Digest, tuple[LockedQuantize, str]] = {}
    for target in targets:
        stage = lock.targets[target].quantize
        if stage is not None:
            stages.setdefault(stage.action, (stage, target))
    wanted = list(stages.values())
    found = in_parallel(lambda item: _recall(*item, remote, ports), wanted, ports.transfer.files, ports)
    recalled = {stage.action: output for (stage, _), output in zip(wanted, found, strict=True) if output is not None}
    known = recalled.keys() | {action for action in stages if ports.store.actions.get(action) is not None}
    if len(known) < len(stages) or any(lock.targets[target].quantize is None for target in targets):
        for role, converted in lock.convert.items():
            if not ports.store.blobs.is_sound(converted.output):
                remote.fetch(converted.output, FetchListener(source="converted", path=role, ports=ports))
    return recalled
