"""How many layers of a model go to a backend's devices: as many as fit into what their drivers say is free.

llama.cpp offloads the last layers first, and counts what follows the last block as one more (llama-model.cpp, `load_tensors`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.api import Device, ModelSize

_MIB = 1024 * 1024
# Kept free on every device for buffers of a computation: llama.cpp's own margin, `fit_params_target` in common.h.
MARGIN = 1024 * 1024 * 1024


@frozen(kw_only=True)
class Offload:
    """What goes where.

    Attributes:
        layers: How many go to the devices, counted as llama.cpp's `-ngl` counts.
        of: How many there are.
        split: How much each device gets, in proportion; empty for one device.
        size: Bytes that the devices take.
    """

    layers: int
    of: int
    split: tuple[int, ...]
    size: int

    @property
    def whole(self) -> bool:
        """Whether everything fits."""
        return self.layers == self.of


def fit(size: ModelSize, devices: Sequence[Device]) -> Offload:
    """Return how much of a model fits; all of it on devices whose drivers do not say what is free."""
    room = [None if device.free is None else max(0, device.free - MARGIN) for device in devices]
    rest = size.weights - sum(size.layers)
    needs = [layer + size.context * cache for layer, cache in zip(size.layers, size.cache, strict=True)]
    needs.append(rest)  # embeddings stay on the processor, but the output may be the same tensor: count it
    known = [free for free in room if free is not None]
    split = tuple(free // _MIB for free in known) if len(known) == len(room) > 1 else ()
    if not any(split):
        split = ()
    if len(known) < len(room) or sum(needs) <= sum(known):
        return Offload(layers=len(needs), of=len(needs), split=split, size=sum(needs))
    taken, count = 0, 0
    for need in reversed(needs):
        if taken + need > sum(known):
            break
        taken, count = taken + need, count + 1
    return Offload(layers=count, of=len(needs), split=split, size=taken)


def sentence(offload: Offload, devices: Sequence[Device]) -> str:
    """Return what runs where, for people."""
    names = " and ".join(f"{device.name}" for device in devices)
    free = sum(device.free or 0 for device in devices)
    room = f" ({offload.size / 1e9:.1f} of {free / 1e9:.1f} GB that are free)" if free else ""
    if not offload.layers:
        return f"on the processor: not one of {offload.of} layers fits into what {names} has free"
    if offload.whole:
        return f"all {offload.of} layers on {names}{room}, flash attention where the model allows it"
    rest = offload.of - offload.layers
    return f"{offload.layers} of {offload.of} layers on {names}{room}, {rest} on the processor"
