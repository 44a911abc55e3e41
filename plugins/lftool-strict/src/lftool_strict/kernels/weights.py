"""Weights of the least squares: how much the error of each value of a group counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lftool_strict.kernels.block import Block
    from lftool_strict.kernels.search import Vectors
    from lftool_strict.lanes.program import Array, Program
    from lftool_strict.lanes.values import Value


def sum_of_squares(p: Program, x: Vectors) -> Value:
    """Return the sum of squares, in order."""
    total = p.f32(0.0)
    for index in range(len(x)):
        total = total + x[index] * x[index]
    return total


def block_squares(block: Block) -> Value:
    """Return the sum of squares of the whole block, in order."""
    p = block.p
    total = p.variable(0.0)
    with p.loop(block.kernel.elements // 32) as group:
        running = total.get()
        part = block.x.part(group * 32, 32)
        for index in range(32):
            running = running + part[index] * part[index]
        total.set(running)
    return total.get()


def important_weights(block: Block, x: Vectors, importance: Vectors, sigma: Value) -> Array:
    """Return `importance * sqrt(sigma + x * x)`."""
    p = block.p
    found = p.array(len(x))
    for index in range(len(x)):
        found[index] = importance[index] * p.sqrt(sigma + x[index] * x[index])
    return found


def total_weight(p: Program, w: Array, count: int) -> Value:
    """Return the sum of weights, in order."""
    total = p.f32(0.0)
    for index in range(count):
        total = total + w[index]
    return total
