"""Take outputs of stages from records that the user trusts, instead of making them.

A remote store's records count if the user says so (`LFTOOL_REMOTE_STORE_ACTIONS`), a vendor folder's with
`--trust-vendor`. They are not recorded on this machine: the next build asks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import Notice
from lftool.errors import FormatError
from lftool.pipeline.model.parts import WEIGHTS
from lftool.pipeline.model.weights import weights_header
from lftool.pipeline.parallel import in_parallel
from lftool.pipeline.sources.fetch import bring
from lftool.pipeline.stages.done import done_already

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.models.digest import Digest
    from lftool.models.lock import Lock, LockedConvert, LockedQuantize
    from lftool.pipeline.ports import Ports

_SLACK_BYTES = 64 * 1024 * 1024


def made_already(stage: LockedConvert | LockedQuantize, ports: Ports) -> bool:
    """Return whether a stage's output counts as made; if the lock names one, only that output."""
    return ports.records.known(stage.action, WEIGHTS, stage.output) is not None


def _recall(stage: LockedQuantize, target: str, most: int, ports: Ports) -> None:
    """Ask vouchers about a stage that this machine has not run, and bring its output into the store."""
    made = ports.records.vouched(stage.action, WEIGHTS, stage.output)
    if made is None or not made.by:
        return
    if made.output.size > most or not bring(made.output, target, WEIGHTS, ports):
        ports.records.doubt(stage.action, WEIGHTS)
        return
    if stage.output is None:
        try:
            weights_header(made.output, f"{made.by}, its weights for targets.{target}", ports)
        except FormatError as error:
            ports.emit(Notice(text=f"{error.message}; continuing without it", warning=True))
            ports.records.doubt(stage.action, WEIGHTS)
            return
    ports.emit(Notice(text=f"targets.{target}: quantised weights were not made here; {made.by} vouches for them"))


def recall_outputs(lock: Lock, targets: Sequence[str], ports: Ports) -> None:
    """Ask vouchers for outputs that targets need and this machine has not made; they count for this build only.

    Quantised weights come into the store. Converted weights do so only if a remaining stage reads them, or if they
    travel in the bundle.

    Args:
        lock: The lock.
        targets: Names of targets.
        ports: If there are no vouchers, nothing is asked.
    """
    stages: dict[Digest, tuple[LockedQuantize, str]] = {}
    for target in targets:
        stage = lock.targets[target].quantize
        if stage is not None and not made_already(stage, ports):
            stages.setdefault(stage.action, (stage, target))
    most = 2 * sum(file.size for source in lock.sources.values() for file in source.files) + _SLACK_BYTES
    in_parallel(lambda item: _recall(*item, most, ports), list(stages.values()), ports.transfer.files, ports)
    left = any(done_already(stage, ports) is None for stage, _ in stages.values())
    needed = left or any(lock.targets[target].quantize is None for target in targets)
    for role, converted in lock.convert.items():
        made = ports.records.vouched(converted.action, WEIGHTS, converted.output)
        if made is None or not made.by:
            continue
        ports.emit(Notice(text=f"convert.{role}: the GGUF was not made here; {made.by} vouches for it"))
        if needed or role != WEIGHTS:
            bring(made.output, "converted", role, ports)
