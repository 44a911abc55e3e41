"""How many layers go to devices: as many as fit into what their drivers say is free."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lftool.api import Device, ModelSize
from lftool_llamacpp.offload import MARGIN, Offload, fit, sentence

GB = 10**9
SIZE = ModelSize(
    weights=41 * GB, layers=(GB,) * 40, cache=(1000,) * 40, context=1_000_000
)  # 2 GB a layer with its cache


def device(free: int | None, name: str = "GPU") -> Device:
    return Device(name=name, free=free)


@pytest.mark.parametrize(
    ("free", "layers"),
    [
        (200 * GB, 41),
        (81 * GB + MARGIN, 41),
        (80 * GB + MARGIN, 40),
        (21 * GB + MARGIN, 11),
        (GB // 2 + MARGIN, 0),
        (0, 0),
    ],
)
def test_layers_fit_into_what_is_free_less_the_margin(free, layers):
    assert fit(SIZE, [device(free)]).layers == layers


def test_a_device_that_does_not_say_what_is_free_gets_everything():
    assert fit(SIZE, [device(None)]) == Offload(layers=41, of=41, split=(), size=81 * GB)


def test_two_devices_share_by_what_each_has_free():
    placed = fit(SIZE, [device(61 * MARGIN, "A"), device(21 * MARGIN, "B")])
    assert (placed.whole, placed.split) == (True, (60 * 1024, 20 * 1024))


def test_the_sentence_says_how_much_goes_where():
    placed = fit(SIZE, [device(21 * GB + MARGIN, "A")])
    assert sentence(placed, [device(21 * GB + MARGIN, "A")]) == (
        "11 of 41 layers on A (21.0 of 22.1 GB that are free), 30 on the processor"
    )
    nothing = fit(SIZE, [device(GB, "A")])
    assert sentence(nothing, [device(GB, "A")]) == "on the processor: not one of 41 layers fits into what A has free"


def test_each_device_gets_whole_layers_so_what_is_left_of_two_is_not_room_for_one():
    layers = (2 * GB,) * 5
    size = ModelSize(weights=sum(layers) + GB // 2, layers=layers, cache=(0,) * 5)
    two = [device(3 * GB + MARGIN, "A"), device(3 * GB + MARGIN, "B")]
    assert fit(size, two) == Offload(layers=3, of=6, split=(1, 2), size=4 * GB + GB // 2)


def test_memory_that_one_device_does_not_tell_is_not_in_the_sentence():
    both = [device(None, "A"), device(50 * GB, "B")]
    assert sentence(fit(SIZE, both), both) == "all 41 layers on A and B, flash attention where the model allows it"


def test_no_more_devices_are_counted_than_llama_cpp_uses():
    assert len(fit(SIZE, [device(10 * GB)] * 20).split) == 16


def assigned(layers: int, split: tuple[int, ...]) -> list[int]:
    """Return which device each layer goes to: `get_layer_buft_list` in llama.cpp's llama-model.cpp."""
    ends = np.cumsum(np.array(split, np.float32), dtype=np.float32)
    ends /= ends[-1]
    places = np.arange(layers, dtype=np.float32) / np.float32(layers)
    return [int(place) for place in np.searchsorted(ends, places, side="right")]


@given(
    st.lists(st.integers(0, 3 * GB), min_size=1, max_size=60),
    st.integers(0, 5 * GB),
    st.lists(st.integers(0, 40 * GB), min_size=2, max_size=8),
)
def test_no_device_gets_more_than_it_has_free(layers, rest, free):
    size = ModelSize(weights=sum(layers) + rest, layers=tuple(layers), cache=(0,) * len(layers))
    placed = fit(size, [device(one) for one in free])
    if placed.layers:
        loads = [0] * len(free)
        for need, place in zip([*layers, rest][-placed.layers :], assigned(placed.layers, placed.split), strict=True):
            loads[place] += need
        assert all(load <= max(0, one - MARGIN) for load, one in zip(loads, free, strict=True))


sizes = st.lists(st.integers(0, 10 * GB), max_size=60).flatmap(
    lambda layers: st.builds(
        lambda rest, cache, context: ModelSize(
            weights=sum(layers) + rest, layers=tuple(layers), cache=(cache,) * len(layers), context=context
        ),
        st.integers(0, 5 * GB),
        st.integers(0, 10_000),
        st.integers(0, 100_000),
    )
)


@given(sizes, st.lists(st.integers(0, 100 * GB), min_size=1, max_size=4))
def test_never_more_than_is_free_and_never_more_than_there_is(size, free):
    placed = fit(size, [device(one) for one in free])
    assert 0 <= placed.layers <= placed.of == len(size.layers) + 1
    assert placed.size <= sum(max(0, one - MARGIN) for one in free)


@given(sizes, st.integers(0, 100 * GB), st.integers(0, 10 * GB))
def test_more_memory_never_means_fewer_layers(size, free, more):
    assert fit(size, [device(free)]).layers <= fit(size, [device(free + more)]).layers
