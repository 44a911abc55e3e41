"""How far a stage is: tensors that are done, and the bytes of weights that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import TensorDone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lftool.pipeline.ports import Ports


def tensor_progress(stage: str, target: str, sizes: Mapping[str, int], ports: Ports) -> Callable[[str, int, int], None]:
    """Return what a transform calls when a tensor is done.

    Args:
        stage: `convert` or `quantize`.
        target: What messages call it.
        sizes: Bytes of every tensor of the weights that are read, or made; empty while they are not known.
        ports: Told of every tensor.
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
