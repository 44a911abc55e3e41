"""Progress of a stage: finished tensors, and their size in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import TensorDone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lftool.pipeline.ports import Ports


def tensor_progress(stage: str, target: str, sizes: Mapping[str, int], ports: Ports) -> Callable[[str, int, int], None]:
    """Return the callback that a transform calls for each finished tensor.

    Args:
        stage: `convert` or `quantize`.
        target: The target's name in messages.
        sizes: Bytes of every tensor that is read, or made; empty while unknown.
        ports: Receives an event for every tensor.
    """
    done = 0

    def progress(tensor: str, index: int, count: int) -> None:
        nonlocal done
        done += sizes.get(tensor, 0)
        total = sum(sizes.values()) or None
        ports.emit(
            TensorDone(
                stage=stage,
                target=target,
                tensor=tensor,
                index=index,
                count=count,
                done=None if total is None else done,
                total=total,
            )
        )

    return progress
