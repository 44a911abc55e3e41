"""Read importance matrices: GGUF files of type `imatrix`, and the binary files of older llama.cpp.

Source: `load_imatrix` and `load_legacy_imatrix` of llama.cpp's tools/quantize/quantize.cpp. It divides in binary32 with
one rounding. Without NumPy, this module divides in binary64 and rounds to binary32. The result is the same, since 53
bits are more than twice 24 plus two (Figueroa 1995).
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from typing import TYPE_CHECKING, NoReturn

from lftool.errors import FormatError
from lftool.formats.gguf_read import read_gguf

if TYPE_CHECKING:
    from pathlib import Path

_SUMS, _COUNTS = ".in_sum2", ".counts"
_MAX_ENTRIES = 65_536
_MAX_VALUES = 64 * 1024 * 1024
_MAX_NAME = 512


def read_imatrix(path: Path) -> dict[str, array[float]]:
    """Return tensor name to importance: binary32, one value per column and expert.

    Raises:
        FormatError: Neither format, truncated, or a value is not finite or below zero; values are means of squares.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    found = _read_gguf_imatrix(path) if magic == b"GGUF" else _read_legacy(path)
    for name, values in found.items():
        total, least = _sum_and_least(values)
        if not math.isfinite(total):  # the sum is finite exactly if all values are
            raise FormatError(f"the importance matrix has a value for {name} that is not finite")
        if least < 0:
            raise FormatError(f"the importance matrix has a value for {name} below zero: {least:g}")
    return found


def _sum_and_least(values: array[float]) -> tuple[float, float]:
    """Return the sum as binary64, and the smallest value; 0 and 0 if empty."""
    if not values:
        return 0.0, 0.0
    try:
        import numpy as np
    except ImportError:
        return sum(values), min(values)
    held = np.frombuffer(values, dtype=np.float32)
    with np.errstate(all="ignore"):
        return float(held.sum(dtype=np.float64)), float(held.min())


def _divided(values: array[float], by: float) -> array[float]:
    """Return values divided by a number as binary32, rounded once; uses NumPy if installed."""
    try:
        import numpy as np
    except ImportError:
        (by,) = array("f", [by])
        return array("f", (value / by for value in values))
    with np.errstate(all="ignore"):
        return array("f", (np.frombuffer(values, dtype=np.float32) / np.float32(by)).tobytes())


def _floats(data: bytes) -> array[float]:
    values = array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _read_gguf_imatrix(path: Path) -> dict[str, array[float]]:
    with path.open("rb") as file:
        header = read_gguf(file, path.stat().st_size, "the importance matrix")
        if header.metadata.get("general.type") != "imatrix":
            raise FormatError("the importance matrix is a GGUF whose general.type is not 'imatrix'")
        values = {}
        for tensor in header.tensors:
            if tensor.type.name != "F32":
                raise FormatError(f"the importance matrix: {tensor.name} is {tensor.type.name}, not F32")
            file.seek(header.data_offset + tensor.offset)
            values[tensor.name] = (tensor.dimensions[0], _floats(file.read(tensor.size)))
    found = {}
    for name, (columns, sums) in values.items():
        if not name.endswith(_SUMS):
            continue
        _, counts = values.get(name.removesuffix(_SUMS) + _COUNTS, (0, array("f")))
        if len(counts) * columns != len(sums):
            raise FormatError(f"the importance matrix: {name} has no matching counts")
        means = array("f")
        for row, count in enumerate(counts):
            part = sums[row * columns : (row + 1) * columns]
            means.extend(_divided(part, count) if count > 0 else array("f", [1.0]) * columns)
        found[name.removesuffix(_SUMS)] = means
    if not found:
        raise FormatError("the importance matrix has no entries")
    return found


class _Legacy:
    """Reads forward through a legacy file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def fail(self, why: str) -> NoReturn:
        raise FormatError(f"the importance matrix is neither a GGUF nor a legacy file: {why}")

    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.data):
            self.fail("it is truncated")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def integer(self, most: int, what: str) -> int:
        value: int = struct.unpack("<i", self.take(4))[0]
        if not 0 < value <= most:
            self.fail(f"{what} is {value}")
        return value


def _read_legacy(path: Path) -> dict[str, array[float]]:
    cursor = _Legacy(path.read_bytes())
    found = {}
    for _ in range(cursor.integer(_MAX_ENTRIES, "the number of entries")):
        name = cursor.take(cursor.integer(_MAX_NAME, "the length of a name")).decode(errors="replace")
        calls: int = struct.unpack("<i", cursor.take(4))[0]
        count = cursor.integer(_MAX_VALUES, "the number of values")
        values = _floats(cursor.take(4 * count))
        found[name] = _divided(values, float(calls)) if calls > 0 else values
    return found
