"""Super-blocks of grid points and signs: IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S: their forms, and where their bytes go."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lftool_strict.kernels.block import MISPLACED, Kernel
from lftool_strict.kernels.grid_fitting import QK, Form, Found, write_block
from lftool_strict.kernels.neighbours import GRIDS
from lftool_strict.lanes.values import INT, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from lftool_strict.kernels.block import Block
    from lftool_strict.lanes.program import Array, Program


def _put_word(block: Block, place: Value | int, word: Value) -> None:
    for byte in range(4):
        block.put(place + byte, word >> (8 * byte))


def _pack_iq2_xxs(block: Block, found: Found) -> None:
    with block.p.loop(8) as group:
        word = found.levels[group] << 28
        for number in range(4):
            block.put(group * 8 + (2 + number), found.indices[group * 4 + number])
            word = word | (found.signs[group * 4 + number] << (7 * number))
        _put_word(block, group * 8 + 6, word)


def _pack_iq2_xs(block: Block, found: Found) -> None:
    p = block.p
    with p.loop(32) as at:
        word = found.indices[at] | (found.signs[at] << 9)
        block.put(at * 2 + 2, word)
        block.put(at * 2 + 3, word >> 8)
    with p.loop(8) as at:
        block.put(at + 66, found.levels[at * 2] | (found.levels[at * 2 + 1] << 4))


def _pack_iq2_s(block: Block, found: Found) -> None:
    p = block.p
    with p.loop(32) as at:
        block.put(at + 2, found.indices[at])
        block.put(at + 34, found.signs[at])
    with p.loop(8) as at:
        high = p.i32(0)
        for index in range(4):
            high = high | ((found.indices[at * 4 + index] >> 8) << (2 * index))
        block.put(at + 66, high)
        block.put(at + 74, found.levels[at * 2] | (found.levels[at * 2 + 1] << 4))


def _pack_iq3_xxs(block: Block, found: Found) -> None:
    p = block.p
    with p.loop(64) as at:
        block.put(at + 2, found.indices[at])
    with p.loop(8) as group:
        word = found.levels[group] << 28
        for number in range(4):
            word = word | (found.signs[group * 4 + number] << (7 * number))
        _put_word(block, group * 4 + 66, word)


def _ranks(p: Program, found: Found) -> list[Value]:
    """Return for each group how many groups before it are not zero."""
    rank, ranks = p.i32(0), []
    for group in range(len(found.live)):
        ranks.append(rank)
        rank = rank + found.live[group]
    return ranks


def _close_gaps(p: Program, found: Found, values: Array, each: int) -> None:
    """Move what belongs to groups behind zero groups to the front, as quantize_row_iq3_s_impl does.

    It does not move on in its output where a group is zero. The scales and the highest bits of points stay in place.
    """
    groups, ranks = len(found.live), p.array(len(found.live), INT)
    for group, rank in enumerate(_ranks(p, found)):
        ranks[group] = rank
    (skipped,) = p.fold(groups, (p.i32(0),), lambda group, so_far: (so_far | p.widen(found.live[group] == 0),))
    with p.if_any(skipped != 0):
        moved = p.array(groups * each, INT)
        with p.loop(groups) as slot, p.loop(each) as at:
            place = p.number(slot)

            def move(group: Value | int, value: Value) -> tuple[Value]:
                here = (ranks[group] == place) & (found.live[group] != 0)
                return (p.select(here, values[p.index(group) * each + at], value),)

            (moved[slot * each + at],) = p.fold(groups, (p.i32(0),), move)

        def put_back(at: Value | int) -> None:
            values[at] = moved[at]

        p.each(groups * each, put_back)


def _pack_iq3_s(block: Block, found: Found) -> None:
    p = block.p
    low = p.array(64, INT)
    with p.loop(64) as at:
        low[at] = found.indices[at] & 255
    for group, rank in enumerate(_ranks(p, found)):
        block.report((found.live[group] != 0) & (rank != group), MISPLACED)
    _close_gaps(p, found, low, 8)
    _close_gaps(p, found, found.signs, 4)
    with p.loop(64) as at:
        block.put(at + 2, low[at])
    with p.loop(8) as at:
        high = p.i32(0)
        for index in range(8):
            high = high | ((found.indices[at * 8 + index] >> 8) << index)
        block.put(at + 66, high)
    with p.loop(32) as at:
        block.put(at + 74, found.signs[at])
    with p.loop(4) as at:
        block.put(at + 106, found.levels[at * 2] | (found.levels[at * 2 + 1] << 4))


def _square(p: Program, x: Value, sigma: Value) -> Value:
    del p, sigma
    return x * x


def _quarter(p: Program, x: Value, sigma: Value) -> Value:
    return p.f32(0.25) * sigma + x * x


_FORMS = {
    "IQ2_XXS": (
        Form(
            grid=GRIDS["IQ2_XXS"],
            group=32,
            even=True,
            least=1e-15,
            sigma=1.0,
            steps=6,
            width=0.1,
            searched=True,
        ),
        66,
        _pack_iq2_xxs,
    ),
    "IQ2_XS": (
        Form(grid=GRIDS["IQ2_XS"], group=16, even=True, least=1e-15, sigma=1.0, steps=9, width=0.1),
        74,
        _pack_iq2_xs,
    ),
    "IQ2_S": (
        Form(
            grid=GRIDS["IQ2_S"],
            group=16,
            even=False,
            least=1e-8,
            sigma=2.0,
            plain=_quarter,
            steps=9,
            width=0.1,
            fudge=0.9875,
            keeps=True,
        ),
        82,
        _pack_iq2_s,
    ),
    "IQ3_XXS": (
        Form(
            grid=GRIDS["IQ3_XXS"],
            group=32,
            even=True,
            least=1e-8,
            sigma=2.0,
            plain=_square,
            steps=15,
            width=0.2,
            fudge=1.0125,
        ),
        98,
        _pack_iq3_xxs,
    ),
    "IQ3_S": (
        Form(
            grid=GRIDS["IQ3_S"],
            group=32,
            even=False,
            least=0.0,
            sigma=2.0,
            plain=_square,
            steps=9,
            width=0.2,
            all_again=True,
            fudge=1.033,
            keeps=True,
        ),
        110,
        _pack_iq3_s,
    ),
}


def _writer(form: Form, pack: Callable[[Block, Found], None]) -> Callable[[Block], None]:
    return partial(write_block, form=form, pack=pack)


GRID_KERNELS = {
    name: Kernel(elements=QK, size=size, write=_writer(form, pack), plain=form.plain is not None, grid=form.grid.name)
    for name, (form, size, pack) in _FORMS.items()
}
