"""Read importance matrices: GGUF files of type `imatrix`, and the binary files of older llama.cpp.

Source: `load_imatrix` and `load_legacy_imatrix` of llama.cpp's tools/quantize/quantize.cpp. Division is float32, one
rounding each, as there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NoReturn

import numpy as np  # noqa: TID253 - this module is only imported in child processes

from lftool.api import read_gguf
from lftool.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

_SUMS, _COUNTS = ".in_sum2", ".counts"
_MAX_ENTRIES = 65_536
_MAX_VALUES = 64 * 1024 * 1024
_MAX_NAME = 512


def read_imatrix(path: Path) -> dict[str, np.ndarray]:
    """Return tensor name to float32 importance per column.

    Raises:
        FormatError: Neither format, truncated, or a value that is not finite.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    found = _read_gguf_imatrix(path) if magic == b"GGUF" else _read_legacy(path)
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise FormatError(f"the importance matrix has a value for {name} that is not finite")
    return found


def _read_gguf_imatrix(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        header = read_gguf(file, path.stat().st_size, "the importance matrix")
    if header.metadata.get("general.type") != "imatrix":
        raise FormatError("the importance matrix is a GGUF whose general.type is not 'imatrix'")
    data = np.memmap(path, dtype=np.uint8, mode="r")
    values = {}
    for tensor in header.tensors:
        start = header.data_offset + tensor.offset
        if tensor.type.name != "F32":
            raise FormatError(f"the importance matrix: {tensor.name} is {tensor.type.name}, not F32")
        rows = int(np.prod(tensor.dimensions[1:]))
        raw = np.frombuffer(data[start : start + tensor.size].tobytes(), dtype="<f4")
        values[tensor.name] = raw.reshape(rows, tensor.dimensions[0])
    found = {}
    for name, sums in values.items():
        if not name.endswith(_SUMS):
            continue
        counts = values.get(name.removesuffix(_SUMS) + _COUNTS)
        if counts is None or counts.size != sums.shape[0]:
            raise FormatError(f"the importance matrix: {name} has no fitting counts")
        column = counts.reshape(-1, 1)
        safe = np.where(column > 0, column, np.float32(1))
        found[name.removesuffix(_SUMS)] = (
            np.where(column > 0, sums / safe, np.float32(1)).astype(np.float32).reshape(-1)
        )
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


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    cursor = _Legacy(path.read_bytes())
    found = {}
    for _ in range(cursor.integer(_MAX_ENTRIES, "the number of entries")):
        name = cursor.take(cursor.integer(_MAX_NAME, "the length of a name")).decode(errors="replace")
        calls: int = struct.unpack("<i", cursor.take(4))[0]
        count = cursor.integer(_MAX_VALUES, "the number of values")
        values = np.frombuffer(cursor.take(4 * count), dtype="<f4").astype(np.float32)
        found[name] = values / np.float32(calls) if calls > 0 else values
    return found
