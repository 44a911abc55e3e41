"""The neighbours of a point are those that ggml's initialisers list, in their order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lftool.api.gguf import grid_points as points
from lftool_strict.kernels.neighbours import GRIDS, ON_GRID, Grid, tables
from lftool_strict.lanes.nearest import UNIT


def levels_of(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the levels of points, a row each."""
    shifts = grid.bits * np.arange(grid.dimensions)
    return values[:, None] >> shifts & ((1 << grid.bits) - 1)


def expected(point: int, grid: Grid, known: np.ndarray) -> list[int]:
    """Return a point's list by definition: sort all of the grid's points by distance and number, cut."""
    far = ((2 * levels_of(known, grid) - 2 * levels_of(np.array([point]), grid)) ** 2).sum(axis=1)
    order = sorted(range(len(known)), key=lambda number: (far[number], number))
    if far[order[0]] == 0:
        return [order[0] << 16 | point | ON_GRID]
    kept = sorted(set(far))[: grid.distances]
    return [number << 16 | int(known[number]) for number in order if far[number] in kept]


@pytest.mark.parametrize("name", GRIDS)
def test_a_point_has_the_nearest_points_of_the_grid(name):
    grid, known = GRIDS[name], np.array(points(name))
    values = np.frombuffer(tables(name).values, dtype=np.uint32)
    every = list(itertools.product(range(grid.levels), repeat=grid.dimensions))
    for levels in every[:: 37 if grid.dimensions == 8 else 11]:
        point = sum(level << (grid.bits * axis) for axis, level in enumerate(levels))
        start, units = (int(values[point]) >> 8) * UNIT, int(values[point]) & 255
        wanted = expected(point, grid, known)
        length = -(-units // 2) * 2 * UNIT
        assert (units, values[start : start + length].tolist()) == (
            max(grid.least, -(-len(wanted) // UNIT)),
            wanted + wanted[-1:] * (length - len(wanted)),
        )
