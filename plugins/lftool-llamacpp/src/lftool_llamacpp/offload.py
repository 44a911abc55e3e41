"""How many layers of a model go to a backend's devices: as many as fit into what their drivers say is free.

llama.cpp offloads the last layers first, and counts what follows the last block as one more. Every device gets whole layers:
of N of them, the one at place I goes to the first device whose cumulated share is above I / N (llama-model.cpp, `load_tensors`).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.api import Device, ModelSize

_MIB = 1024 * 1024
# Kept free on every device for buffers of a computation: llama.cpp's own margin, `fit_params_target` in common.h.
MARGIN = 1024 * 1024 * 1024
MOST_DEVICES = 16  # that llama.cpp uses: GGML_CUDA_MAX_DEVICES


@frozen(kw_only=True)
class Offload:
    """What goes where.

    Attributes:
        layers: How many go to the devices, counted as llama.cpp's `-ngl` counts.
        of: How many there are.
        split: The share of each device, in proportion; empty for one device.
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


def _single(value: float) -> float:
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    return single


def _loads(needs: Sequence[int], shares: Sequence[int]) -> list[int]:
    """Return what each device gets of some layers, in 32-bit floats as llama.cpp reckons."""
    ends = [_single(end / sum(shares)) for end in accumulate(shares)]
    loads = [0] * len(shares)
    for place, need in enumerate(needs):
        loads[bisect_right(ends, _single(place / len(needs)))] += need
    return loads


def _in_turn(needs: Sequence[int], room: Sequence[int]) -> list[int]:
    """Return how many layers each device takes if one is filled after the other; the last may get too many."""
    counts, left = [0] * len(room), list(room)
    at = 0
    for need in needs:
        while at < len(room) - 1 and need > left[at]:
            at += 1
        counts[at] += 1
        left[at] -= need
    return counts


def _split(needs: Sequence[int], room: Sequence[int]) -> tuple[int, ...] | None:
    """Return shares by which every device has room for its layers: by what is free if that does; None if nothing does."""
    by_room = [free // _MIB for free in room]
    for shares in (by_room, _in_turn(needs, room)):
        if any(shares) and all(load <= free for load, free in zip(_loads(needs, shares), room, strict=True)):
            return tuple(shares)
    return None


def fit(size: ModelSize, devices: Sequence[Device]) -> Offload:
    """Return how much of a model fits; all of it on devices whose drivers do not say what is free."""
    room = [None if device.free is None else max(0, device.free - MARGIN) for device in devices[:MOST_DEVICES]]
    rest = size.weights - sum(size.layers)
    needs = [layer + size.context * cache for layer, cache in zip(size.layers, size.cache, strict=True)]
    needs.append(rest)  # embeddings stay on the processor, but the output may be the same tensor: count it
    known = [free for free in room if free is not None]
    if len(known) < len(room):
        return Offload(layers=len(needs), of=len(needs), split=(), size=sum(needs))
    for count in range(len(needs), 0, -1):
        moved = needs[-count:]
        shares = _split(moved, known) if sum(moved) <= sum(known) else None
        if shares is not None:
            return Offload(layers=count, of=len(needs), split=shares if len(shares) > 1 else (), size=sum(moved))
    return Offload(layers=0, of=len(needs), split=(), size=0)


def sentence(offload: Offload, devices: Sequence[Device]) -> str:
    """Return what runs where, for people."""
    names = " and ".join(f"{device.name}" for device in devices)
    known = [device.free for device in devices if device.free is not None]
    free = sum(known) if len(known) == len(devices) else 0
    room = f" ({offload.size / 1e9:.1f} of {free / 1e9:.1f} GB that are free)" if free else ""
    if not offload.layers:
        return f"on the processor: not one of {offload.of} layers fits into what {names} has free"
    if offload.whole:
        return f"all {offload.of} layers on {names}{room}, flash attention where the model allows it"
    rest = offload.of - offload.layers
    return f"{offload.layers} of {offload.of} layers on {names}{room}, {rest} on the processor"
