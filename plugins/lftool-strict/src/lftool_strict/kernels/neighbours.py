"""For every point, the points of a grid that are near it: what a search for the best one looks at, in this order.

Source: `iq2xs_init_impl` and `iq3xs_init_impl` of ggml-quants.c. A point of the grid has itself only. Any other has the
grid's points at its one to three smallest distances, nearest first, and by their number where they are equally near.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from array import array
from itertools import product
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api.gguf import grid_points as points
from lftool_strict.lanes.nearest import UNIT

if TYPE_CHECKING:
    from collections.abc import Iterator

ON_GRID = 1 << 30
_INDEX = 16


@frozen(kw_only=True)
class Grid:
    """A grid, and how its neighbours are chosen.

    Attributes:
        name: Of its points.
        dimensions: Weights of a point.
        bits: Bits of a weight's level.
        levels: Levels that occur.
        distances: How many of the smallest distances count.
        least: `UNIT`s of the shortest list; what is fastest was measured.
    """

    name: str
    dimensions: int
    bits: int
    levels: int
    distances: int
    least: int


GRIDS = {
    "IQ1": Grid(name="IQ1", dimensions=8, bits=2, levels=3, distances=3, least=1),
    "IQ2_XXS": Grid(name="IQ2_XXS", dimensions=8, bits=2, levels=3, distances=2, least=2),
    "IQ2_XS": Grid(name="IQ2_XS", dimensions=8, bits=2, levels=3, distances=2, least=1),
    "IQ2_S": Grid(name="IQ2_S", dimensions=8, bits=2, levels=3, distances=1, least=2),
    "IQ3_XXS": Grid(name="IQ3_XXS", dimensions=4, bits=3, levels=8, distances=2, least=2),
    "IQ3_S": Grid(name="IQ3_S", dimensions=4, bits=3, levels=8, distances=3, least=2),
}


@frozen(kw_only=True)
class Tables:
    """Neighbours as kernels read them, in 32-bit integers.

    The first integers belong to the points: where a point's list begins, in `UNIT`s from the begin of the tables, times
    256, plus the number of its `UNIT`s. An integer of a list has the point's levels in its low 16 bits, above them its
    number in the grid, and `ON_GRID` if the list is its own. The last one is repeated up to a multiple of two `UNIT`s.
    """

    values: mmap.mmap  # aligned to a page, so that lists do not cross cache lines

    @property
    def address(self) -> int:
        """Where they lie in memory."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.values))

    @property
    def size(self) -> int:
        """How many bytes they take."""
        return len(self.values)


_made: dict[str, Tables] = {}
_making = threading.Lock()


def tables(name: str) -> Tables:
    """Return the tables of a grid; made once in a process, in a fraction of a second."""
    with _making:
        if name not in _made:
            _made[name] = _tables(GRIDS[name])
        return _made[name]


def _tables(grid: Grid) -> Tables:
    name = grid.name
    known = points(name)
    own = {point: number for number, point in enumerate(known)}
    # One byte for each of the grid's points: a sum of such integers adds all distances at once. None exceeds 196.
    far = [
        [
            int.from_bytes(bytes((level - _level(point, axis, grid)) ** 2 for point in known), "little")
            for level in range(grid.levels)
        ]
        for axis in range(grid.dimensions)
    ]
    most = sum((grid.levels - 1) << (grid.bits * axis) for axis in range(grid.dimensions))
    values = array("I", bytes(4 * _padded(most + 1)))
    for levels in product(range(grid.levels), repeat=grid.dimensions):
        point = sum(level << (grid.bits * axis) for axis, level in enumerate(levels))
        if point in own:
            found = [own[point] << _INDEX | point | ON_GRID]
        else:
            total = sum(far[axis][level] for axis, level in enumerate(levels))
            near = _nearest(total.to_bytes(len(known), "little"), grid.distances)
            found = [number << _INDEX | known[number] for number in near]
        start, units = len(values) // UNIT, max(grid.least, -(-len(found) // UNIT))
        values[point] = start << 8 | units
        values.extend(found + found[-1:] * (_padded(units * UNIT) - len(found)))
    memory = mmap.mmap(-1, len(values) * values.itemsize)
    memory.write(values.tobytes())
    return Tables(values=memory)


def _level(point: int, axis: int, grid: Grid) -> int:
    return point >> (grid.bits * axis) & ((1 << grid.bits) - 1)


def _padded(count: int) -> int:
    return -(-count // (2 * UNIT)) * 2 * UNIT


def _nearest(distances: bytes, count: int) -> Iterator[int]:
    """Yield the numbers of the bytes with the `count` smallest values, by value and then by place."""
    value = 0
    while count:
        at = distances.find(value)
        count -= at >= 0
        while at >= 0:
            yield at
            at = distances.find(value, at + 1)
        value += 1
