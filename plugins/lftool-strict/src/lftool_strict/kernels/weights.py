"""Weights of the least squares: how much the error of each value of a group counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lftool_strict.kernels.block import Block
    from lftool_strict.kernels.search import Vectors
    from lftool_strict.lanes.program import Array, Program
    from lftool_strict.lanes.values import Value


def sum_of_squares(p: Program, x: Vectors, place: str = "squares") -> Value:
    """Return the sum of squares, in order."""
    return p.fold(len(x), (p.f32(0.0),), lambda index, total: (p.multiply_add(place, x[index], x[index], total),))[0]


def block_squares(block: Block) -> Value:
    """Return the sum of squares of the whole block, in order."""
    return sum_of_squares(block.p, block.x)


def important_weights(block: Block, x: Vectors, importance: Vectors, sigma: Value) -> Array:
    """Return `importance * sqrt(sigma + x * x)`."""
    p = block.p
    found = p.array(len(x))

    def weigh(index: Value | int) -> None:
        found[index] = importance[index] * p.sqrt(p.multiply_add("root", x[index], x[index], sigma))

    p.each(len(x), weigh)
    return found


def total_weight(p: Program, w: Array, count: int) -> Value:
    """Return the sum of weights, in order."""
    return p.fold(count, (p.f32(0.0),), lambda index, total: (total + w[index],))[0]
