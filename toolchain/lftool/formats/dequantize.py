"""Weights of a block, and how far apart its levels are: for comparing models, not for running them.

Source: `dequantize_row_*` of ggml-quants.c and the block structs of ggml-common.h, in the llama.cpp of llama-cpp-python
0.3.36. Sums and products are binary64, so that a weight may differ from ggml's in the last bit of binary32.
"""

from __future__ import annotations

import struct
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.formats.codebooks import grid_points
from lftool.formats.ggml_types import GGML_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_FP4 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
_IQ4_GAP = max(high - low for low, high in pairwise(_IQ4))
_FP4_GAP = 4
_IQ2_VALUES = (8, 25, 43)
_IQ3_VALUES = (4, 12, 20, 28, 36, 44, 52, 62)
_SIDE = 0.125


@frozen
class Levels:
    """A decoded block.

    Attributes:
        values: Its weights, in order.
        steps: For each weight, the distance to the next level, as large as it gets; 0 for types without levels.
    """

    values: list[float]
    steps: list[float]


def _half(data: bytes, place: int) -> float:
    found: float = struct.unpack_from("<e", data, place)[0]
    return found


def _scaled(scale: float, levels: Sequence[float], gap: float = 1.0, offset: float = 0.0) -> Levels:
    return Levels([scale * level + offset for level in levels], [abs(scale) * gap] * len(levels))


def _joined(parts: Sequence[Levels]) -> Levels:
    return Levels([x for part in parts for x in part.values], [x for part in parts for x in part.steps])


def _nibbles(data: bytes) -> list[int]:
    """Return the low halves of bytes, and behind them the high ones."""
    return [byte & 15 for byte in data] + [byte >> 4 for byte in data]


def _bits(data: bytes) -> list[int]:
    return [byte >> bit & 1 for byte in data for bit in range(8)]


def _q4_0(b: bytes) -> Levels:
    return _scaled(_half(b, 0), [level - 8 for level in _nibbles(b[2:])])


def _q4_1(b: bytes) -> Levels:
    return _scaled(_half(b, 0), _nibbles(b[4:]), offset=_half(b, 2))


def _fives(low: bytes, high: bytes) -> list[int]:
    return [level | bit << 4 for level, bit in zip(_nibbles(low), _bits(high), strict=True)]


def _q5_0(b: bytes) -> Levels:
    return _scaled(_half(b, 0), [level - 16 for level in _fives(b[6:], b[2:6])])


def _q5_1(b: bytes) -> Levels:
    return _scaled(_half(b, 0), _fives(b[8:], b[4:8]), offset=_half(b, 2))


def _q8_0(b: bytes) -> Levels:
    return _scaled(_half(b, 0), struct.unpack_from("<32b", b, 2))


def _q1_0(b: bytes) -> Levels:
    return _scaled(_half(b, 0), [2 * bit - 1 for bit in _bits(b[2:])], gap=2)


def _pairs_in_order(data: bytes) -> list[int]:
    return [byte >> 2 * pair & 3 for byte in data for pair in range(4)]


def _q2_0(b: bytes) -> Levels:
    return _scaled(_half(b, 0), [level - 1 for level in _pairs_in_order(b[2:])])


def _planes(data: bytes, width: int = 32) -> list[int]:
    """Return two bits of each byte: of `width` bytes the lowest pairs, then the next ones, four in all."""
    found = []
    for start in range(0, len(data), width):
        for pair in range(4):
            found += [byte >> 2 * pair & 3 for byte in data[start : start + width]]
    return found


def _q2_k(b: bytes) -> Levels:
    d, low, levels = _half(b, 80), _half(b, 82), _planes(b[16:80])
    return _joined(
        [
            _scaled(d * (b[group] & 15), levels[16 * group : 16 * group + 16], offset=-low * (b[group] >> 4))
            for group in range(16)
        ]
    )


def _q3_k(b: bytes) -> Levels:
    low, packed, d = _planes(b[32:96]), b[96:108], _half(b, 108)
    high = [byte >> plane & 1 for plane in range(8) for byte in b[:32]]
    scales = [
        (packed[j % 8] >> (0 if j < 8 else 4) & 15) | (packed[8 + j % 4] >> 2 * (j // 4) & 3) << 4  # noqa: PLR2004
        for j in range(16)
    ]
    levels = [level + 4 * bit - 4 for level, bit in zip(low, high, strict=True)]
    return _joined([_scaled(d * (scales[j] - 32), levels[16 * j : 16 * j + 16]) for j in range(16)])


def _sixes(q: bytes) -> tuple[list[int], list[int]]:
    """Return eight scales and eight minima of twelve bytes: get_scale_min_k4."""
    scales, minima = [q[j] & 63 for j in range(4)], [q[j + 4] & 63 for j in range(4)]
    for j in range(4, 8):
        scales.append(q[j + 4] & 15 | q[j - 4] >> 6 << 4)
        minima.append(q[j + 4] >> 4 | q[j] >> 6 << 4)
    return scales, minima


def _with_minima(b: bytes, levels: Sequence[int]) -> Levels:
    d, low = _half(b, 0), _half(b, 2)
    scales, minima = _sixes(b[4:16])
    return _joined([_scaled(d * scales[j], levels[32 * j : 32 * j + 32], offset=-low * minima[j]) for j in range(8)])


def _q4_k(b: bytes) -> Levels:
    return _with_minima(b, [level for part in range(4) for level in _nibbles(b[16 + 32 * part : 48 + 32 * part])])


def _q5_k(b: bytes) -> Levels:
    low = [level for part in range(4) for level in _nibbles(b[48 + 32 * part : 80 + 32 * part])]
    high = [byte >> plane & 1 for plane in range(8) for byte in b[16:48]]
    return _with_minima(b, [level | bit << 4 for level, bit in zip(low, high, strict=True)])


def _q6_k(b: bytes) -> Levels:
    d, scales, levels = _half(b, 208), struct.unpack_from("<16b", b, 192), []
    for part in range(2):
        low, high = b[64 * part : 64 * part + 64], b[128 + 32 * part : 160 + 32 * part]
        nibbles = [byte & 15 for byte in low] + [byte >> 4 for byte in low]
        pairs = [byte >> 2 * pair & 3 for pair in range(4) for byte in high]
        levels += [nibble | pair << 4 for nibble, pair in zip(nibbles, pairs, strict=True)]
    return _joined([_scaled(d * scales[j], [level - 32 for level in levels[16 * j : 16 * j + 16]]) for j in range(16)])


def _iq4_nl(b: bytes) -> Levels:
    return _scaled(_half(b, 0), [_IQ4[level] for level in _nibbles(b[2:])], gap=_IQ4_GAP)


def _iq4_xs(b: bytes) -> Levels:
    d, high, parts = _half(b, 0), b[2] | b[3] << 8, []
    for j in range(8):
        scale = (b[4 + j // 2] >> 4 * (j % 2) & 15) | (high >> 2 * j & 3) << 4
        levels = _nibbles(b[8 + 16 * j : 24 + 16 * j])
        parts.append(_scaled(d * (scale - 32), [_IQ4[level] for level in levels], gap=_IQ4_GAP))
    return _joined(parts)


def _mxfp4(b: bytes) -> Levels:
    return _scaled(2.0 ** (b[0] - 128), [_FP4[level] for level in _nibbles(b[1:])], gap=_FP4_GAP)


def _trits(data: bytes, count: int) -> list[int]:
    """Return digits of base three: the first of all bytes, then the second."""
    return [((byte * 3**digit & 255) * 3 >> 8) - 1 for digit in range(count) for byte in data]


def _tq1_0(b: bytes) -> Levels:
    return _scaled(_half(b, 52), _trits(b[:32], 5) + _trits(b[32:48], 5) + _trits(b[48:52], 4))


def _tq2_0(b: bytes) -> Levels:
    return _scaled(_half(b, 64), [level - 1 for level in _planes(b[:64])])


@cache
def _grid(name: str) -> tuple[tuple[int, ...], ...]:
    """Return the points of a grid as values, in the order of the weights."""
    if name == "IQ1":
        return tuple(tuple((point >> 2 * axis & 3) - 1 for axis in range(8)) for point in grid_points(name))
    if name.startswith("IQ2"):
        return tuple(tuple(_IQ2_VALUES[point >> 2 * axis & 3] for axis in range(8)) for point in grid_points(name))
    values = _IQ3_VALUES if name == "IQ3_XXS" else tuple(range(1, 17, 2))
    return tuple(tuple(values[point >> 3 * axis & 7] for axis in range(4)) for point in grid_points(name))


def _signed(point: Sequence[int], signs: int) -> list[int]:
    return [-value if signs >> at & 1 else value for at, value in enumerate(point)]


def _even(signs: int) -> int:
    """Return eight signs of seven: the last one makes the number of minus signs even."""
    return signs | (signs.bit_count() & 1) << 7


_IQ2_GAP, _IQ3_GAP = 18.0, 10.0


def _iq2_xxs(b: bytes) -> Levels:
    d, grid, parts = _half(b, 0), _grid("IQ2_XXS"), []
    for j in range(8):
        indices = b[2 + 8 * j : 6 + 8 * j]
        (rest,) = struct.unpack_from("<I", b, 6 + 8 * j)
        levels = [x for at, i in enumerate(indices) for x in _signed(grid[i], _even(rest >> 7 * at & 127))]
        parts.append(_scaled(d * (0.5 + (rest >> 28)) * 0.25, levels, gap=_IQ2_GAP))
    return _joined(parts)


def _iq2_xs(b: bytes) -> Levels:
    d, grid, parts = _half(b, 0), _grid("IQ2_XS"), []
    for at, index in enumerate(struct.unpack_from("<32H", b, 2)):
        scale = b[66 + at // 4] >> 4 * (at % 4 // 2) & 15
        parts.append(_scaled(d * (0.5 + scale) * 0.25, _signed(grid[index & 511], _even(index >> 9)), gap=_IQ2_GAP))
    return _joined(parts)


def _iq2_s(b: bytes) -> Levels:
    d, grid, parts = _half(b, 0), _grid("IQ2_S"), []
    for at in range(32):
        index = b[2 + at] | (b[66 + at // 4] << (8 - 2 * (at % 4)) & 0x300)
        scale = b[74 + at // 4] >> 4 * (at % 4 // 2) & 15
        parts.append(_scaled(d * (0.5 + scale) * 0.25, _signed(grid[index], b[34 + at]), gap=_IQ2_GAP))
    return _joined(parts)


def _iq3_xxs(b: bytes) -> Levels:
    d, grid, parts = _half(b, 0), _grid("IQ3_XXS"), []
    for j in range(8):
        (rest,) = struct.unpack_from("<I", b, 66 + 4 * j)
        levels: list[int] = []
        for at in range(4):
            point = grid[b[2 + 8 * j + 2 * at]] + grid[b[3 + 8 * j + 2 * at]]
            levels += _signed(point, _even(rest >> 7 * at & 127))
        parts.append(_scaled(d * (0.5 + (rest >> 28)) * 0.5, levels, gap=_IQ3_GAP))
    return _joined(parts)


def _iq3_s(b: bytes) -> Levels:
    d, grid, parts = _half(b, 0), _grid("IQ3_S"), []
    for at in range(32):
        j = at // 4
        high, scale = b[66 + j] >> 2 * (at % 4), b[106 + j // 2] >> 4 * (j % 2) & 15
        point = grid[b[2 + 2 * at] | (high & 1) << 8] + grid[b[3 + 2 * at] | (high >> 1 & 1) << 8]
        parts.append(_scaled(d * (1 + 2 * scale), _signed(point, b[74 + at]), gap=2))
    return _joined(parts)


def _iq1_s(b: bytes) -> Levels:
    d, grid, parts = _half(b, 0), _grid("IQ1"), []
    for j, high in enumerate(struct.unpack_from("<8H", b, 34)):
        side = -_SIDE if high & 0x8000 else _SIDE
        for at in range(4):
            point = grid[b[2 + 4 * j + at] | (high >> 3 * at & 7) << 8]
            parts.append(_scaled(d * (2 * (high >> 12 & 7) + 1), [value + side for value in point], gap=1.25))
    return _joined(parts)


def _iq1_m(b: bytes) -> Levels:
    packed = struct.unpack_from("<4H", b, 48)
    whole = packed[0] >> 12 | packed[1] >> 8 & 0xF0 | packed[2] >> 4 & 0xF00 | packed[3] & 0xF000
    d, grid, parts = _half(struct.pack("<H", whole), 0), _grid("IQ1"), []
    for at in range(32):
        j = at // 4
        high = b[32 + at // 2] >> 4 * (at % 2)
        side = -_SIDE if high & 8 else _SIDE
        scale = packed[j // 2] >> (6 * (j % 2) + 3 * (at % 4 // 2)) & 7
        point = grid[b[at] | (high & 7) << 8]
        parts.append(_scaled(d * (2 * scale + 1), [value + side for value in point], gap=1.25))
    return _joined(parts)


def _floats(kind: str) -> Callable[[bytes], Levels]:
    def decode(b: bytes) -> Levels:
        if kind == "BF16":
            numbers = struct.unpack(f"<{len(b) // 2}H", b)
            values = list(
                struct.unpack(f"<{len(numbers)}f", struct.pack(f"<{len(numbers)}I", *(n << 16 for n in numbers)))
            )
        else:
            letter, size = {"F32": ("f", 4), "F16": ("e", 2), "F64": ("d", 8)}[kind]
            values = list(struct.unpack(f"<{len(b) // size}{letter}", b))
        return Levels(values, [0.0] * len(values))

    return decode


_DECODERS: dict[str, Callable[[bytes], Levels]] = {
    **{kind: _floats(kind) for kind in ("F32", "F16", "BF16", "F64")},
    "Q1_0": _q1_0,
    "Q2_0": _q2_0,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
    "IQ2_XXS": _iq2_xxs,
    "IQ2_XS": _iq2_xs,
    "IQ2_S": _iq2_s,
    "IQ3_XXS": _iq3_xxs,
    "IQ3_S": _iq3_s,
    "IQ1_S": _iq1_s,
    "IQ1_M": _iq1_m,
}
DECODED = frozenset(_DECODERS)


def decode_block(kind: str, data: bytes) -> Levels:
    """Return the weights of one block; of a type without blocks, of any number of elements.

    Args:
        kind: Name of the type, one of `DECODED`.
        data: Its bytes.

    Raises:
        KeyError: The type has no decoder here.
        ValueError: The data has another size.
    """
    decode = _DECODERS[kind]
    made = GGML_TYPES[kind]
    if len(data) % made.block_bytes or (made.block_elements > 1 and len(data) != made.block_bytes):
        raise ValueError(f"{len(data)} bytes are not a block of {kind}")
    return decode(data)
