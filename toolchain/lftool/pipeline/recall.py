"""Take outputs of stages from the remote store instead of making them: those that the lock names, by their digest.

What a lock does not name, a remote store is believed only if the user says so (`LFTOOL_REMOTE_STORE_ACTIONS`). What was
recalled is remembered apart from what this machine made itself, and counts only for a lock that names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import Notice
from lftool.codec.canonical import canonical_json
from lftool.errors import FormatError
from lftool.models.digest import Digest
from lftool.pipeline.parallel import in_parallel
from lftool.pipeline.stages.convert import ROLE
from lftool.pipeline.stages.fetch import FetchListener
from lftool.pipeline.tasks import weights_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lftool.models.digest import Artifact
    from lftool.models.lock import Lock, LockedQuantize
    from lftool.pipeline.ports import Ports
    from lftool.transfer.remote_store import CheckedStore

_OUTPUT = "weights"
_SLACK_BYTES = 64 * 1024 * 1024


def _memo(action: Digest, output: Artifact) -> Digest:
    """Return the key under which it is remembered that `output` was recalled for `action`."""
    return Digest.of(canonical_json({"memo": "recalled", "action": action.hex, "output": output.sha256.hex}))


def _stages(lock: Lock, targets: Sequence[str], ports: Ports) -> dict[Digest, tuple[LockedQuantize, str]]:
    """Return the stages that this machine has not done, each once, with a target that needs it."""
    found: dict[Digest, tuple[LockedQuantize, str]] = {}
    for target in targets:
        stage = lock.targets[target].quantize
        if stage is None:
            continue
        made = ports.store.actions.get(stage.action)
        if made is None or stage.output not in {None, made[_OUTPUT]}:
            found.setdefault(stage.action, (stage, target))
    return found


def remembered_outputs(lock: Lock, targets: Sequence[str], ports: Ports) -> dict[Digest, Artifact]:
    """Return action to output of what earlier builds recalled, as far as the lock names it and it is still in the store."""
    found = {}
    for action, (stage, _) in _stages(lock, targets, ports).items():
        if stage.output is not None and ports.store.actions.get(_memo(action, stage.output)) is not None:
            found[action] = stage.output
    return found


def _unnamed(stage: LockedQuantize, most: int, remote: CheckedStore, listener: FetchListener) -> Artifact | None:
    """Return what the store says of a stage whose output the lock does not name, if that can be."""
    said = (remote.recall(stage.action, listener) or {}).get(_OUTPUT)
    return said if said is not None and said.size <= most else None


def _recall(stage: LockedQuantize, target: str, most: int, remote: CheckedStore, ports: Ports) -> Artifact | None:
    listener = FetchListener(source=target, path=_OUTPUT, ports=ports)
    wanted = stage.output or _unnamed(stage, most, remote, listener)
    if wanted is None or not (ports.store.blobs.is_sound(wanted) or remote.fetch(wanted, listener)):
        return None
    if stage.output is None:
        try:
            weights_header(wanted, f"remote store {remote.url}, what it says of targets.{target}", ports)
        except FormatError as error:
            ports.emit(Notice(text=f"{error.message}; going on without it", warning=True))
            return None
    ports.store.actions.put(_memo(stage.action, wanted), {_OUTPUT: wanted})
    return wanted


def recall_outputs(lock: Lock, targets: Sequence[str], ports: Ports) -> dict[Digest, Artifact]:
    """Return action to output of the quantize stages that need not be done; the outputs are in the store.

    Converted weights come into the store as well, if a stage that must be done reads them, and so does what travels
    beside them.

    Args:
        lock: The lock.
        targets: Names of targets.
        ports: Without a remote store nothing new is recalled.
    """
    recalled = remembered_outputs(lock, targets, ports)
    remote = ports.remote_store
    if remote is None:
        return recalled
    left = {action: item for action, item in _stages(lock, targets, ports).items() if action not in recalled}
    most = 2 * sum(file.size for source in lock.sources.values() for file in source.files) + _SLACK_BYTES
    items = list(left.values())
    found = in_parallel(lambda item: _recall(*item, most, remote, ports), items, ports.transfer.files, ports)
    recalled |= {stage.action: output for (stage, _), output in zip(items, found, strict=True) if output is not None}
    weights = left.keys() - recalled.keys() or any(lock.targets[target].quantize is None for target in targets)
    _fetch_converted(lock, [role for role in lock.convert if weights or role != ROLE], remote, ports)
    return recalled


def _fetch_converted(lock: Lock, roles: Sequence[str], remote: CheckedStore, ports: Ports) -> None:
    for role in roles:
        converted = lock.convert[role]
        if not ports.store.blobs.is_sound(converted.output):
            remote.fetch(converted.output, FetchListener(source="converted", path=role, ports=ports))


def done_already(stage: LockedQuantize, recalled: Mapping[Digest, Artifact], ports: Ports) -> Artifact | None:
    """Return the output of a stage that need not be done again, checked: recalled, or made here before."""
    made = recalled.get(stage.action) or (ports.store.actions.get(stage.action) or {}).get(_OUTPUT)
    if made is None or stage.output not in {None, made} or not ports.store.blobs.is_sound(made):
        return None
    return made
