"""Bytes of super-blocks: levels and scales where ggml-common.h has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lftool_strict.kernels.block import Block
    from lftool_strict.lanes.program import Array, Program
    from lftool_strict.lanes.values import Value


def packed_scales(p: Program, ls: list[Value], lm: list[Value]) -> list[Value]:
    """Return the 12 bytes that hold 8 scales and 8 minima of 6 bits, as 8-bit arithmetic makes them."""
    low = [ls[j] for j in range(4)] + [lm[j] for j in range(4)] + [p.i32(0)] * 4
    for j in range(4, 8):
        low[j + 4] = (ls[j] & 0xF) | ((lm[j] & 0xF) << 4)
        low[j - 4] = (low[j - 4] | ((ls[j] >> 4) << 6)) & 0xFF
        low[j] = (low[j] | ((lm[j] >> 4) << 6)) & 0xFF
    return low


def unpacked_scales(q: list[Value]) -> tuple[list[Value], list[Value]]:
    """get_scale_min_k4 for all eight."""
    scales = [q[j] & 63 for j in range(4)]
    minima = [q[j + 4] & 63 for j in range(4)]
    for j in range(4, 8):
        scales.append((q[j + 4] & 0xF) | ((q[j - 4] >> 6) << 4))
        minima.append((q[j + 4] >> 4) | ((q[j] >> 6) << 4))
    return scales, minima


def pack_nibbles(block: Block, levels: Array, start: int) -> None:
    """Pack 4-bit levels, two of 32 apart in a byte, from byte `start` on."""
    p = block.p
    with p.loop(4) as pair:
        low, high = levels.part(pair * 64, 32), levels.part(pair * 64 + 32, 32)

        def pack(index: Value | int) -> None:
            block.put(pair * 32 + start + index, (low[index] & 0xF) | (high[index] << 4))

        p.each(32, pack)


def pack_pairs(block: Block, levels: Array, start: int) -> None:
    """Pack 2-bit levels as Q2_K and Q3_K do: four of 32 apart in a byte."""
    p = block.p
    with p.loop(2) as half:

        def pack(index: Value | int) -> None:
            one = [levels[half * 128 + 32 * j + index] for j in range(4)]
            byte = one[0] | (one[1] << 2) | (one[2] << 4) | (one[3] << 6)
            block.put(half * 32 + start + index, byte)

        p.each(32, pack)
