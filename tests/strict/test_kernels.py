"""Every kernel makes the blocks of ggml's scalar code, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.strict.conftest import COLUMNS, FAMILIES, MADE, Calls, bell, importance

from lftool_strict.kernels.block import MISPLACED, NOT_FINITE, OVERFLOW
from lftool_strict.kernels.registry import FLOATS, KERNELS

WITH = [pytest.param(*case, id=f"{case[0]}-{'imatrix' if case[1] else 'plain'}") for case in MADE]


def needed(name: str) -> np.ndarray | None:
    """Return importance for a type that cannot do without."""
    return None if KERNELS[name].plain else importance()


@pytest.mark.slow_cases(r"\[large-|negative zeros-.*-imatrix|\[(?!bell-).*-IQ[123]")
@pytest.mark.parametrize(("name", "matters"), WITH)
@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_those_of_ggml(calls, ggml, is_valid, family, name, matters):
    weights = FAMILIES[family](16)
    given_importance = importance() if matters else None
    expected = ggml(name, weights, given_importance)
    assert calls.quantised(name, weights, given_importance) == (expected if is_valid(name, expected) else None)


@pytest.mark.slow_cases(r"-imatrix\]")
@pytest.mark.parametrize(("name", "matters"), WITH)
def test_the_exact_variant_makes_the_same(calls, ggml, name, matters):
    weights = np.concatenate([FAMILIES["bell"](8), FAMILIES["scale of every group"](8)])
    given_importance = importance() if matters else None
    found, flags = calls.blocks(name, weights, given_importance, exact=True)
    assert (found, flags & ~MISPLACED) == (ggml(name, weights, given_importance), 0)


@pytest.mark.slow_cases(r"\[(?!Q4_K|IQ4_XS|Q8_0|Q5_1)")
@pytest.mark.parametrize("kind", ["F16", "BF16"])
@pytest.mark.parametrize("name", KERNELS)
def test_weights_are_read_as_f16_and_bf16(calls, ggml, name, kind):
    weights = np.concatenate([make(4) for make in FAMILIES.values()])
    if kind == "F16":
        raw = weights.astype(np.float16)
        real = raw.astype(np.float32)
    else:
        raw = (weights.view(np.uint32) >> 16).astype(np.uint16)
        real = (raw.astype(np.uint32) << 16).view(np.float32)
    matters = importance()
    found, _ = calls.blocks(name, raw, matters, kind=kind)
    expected, _ = calls.blocks(name, real, matters)
    assert found == expected
    bells = slice(0, 4)
    assert calls.blocks(name, raw[bells], matters, kind=kind)[0] == ggml(name, real[bells], matters)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 11])
@pytest.mark.parametrize("name", ["Q4_0", "Q4_K", "Q6_K", "MXFP4"])
def test_any_number_of_blocks_is_made_and_nothing_behind_them(calls, ggml, name, rows):
    weights = bell("some rows", rows)
    assert calls.quantised(name, weights) == ggml(name, weights)


# Rows in which numbers of very different size meet, and bits of every kind.
_FINITE = st.one_of(
    st.floats(-1e4, 1e4, width=32, allow_subnormal=True),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0**-24, 2.0**-126, 2.0**-149, -(2.0**-149), 65504.0]),
)
_ROWS = arrays(np.float32, (2, COLUMNS), elements=_FINITE, fill=_FINITE)
_IMPORTANCE = arrays(np.float32, (COLUMNS,), elements=st.floats(0, 1000, width=32), fill=st.floats(0, 100, width=32))


@pytest.mark.parametrize(("name", "matters"), WITH)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_rows_make_the_blocks_of_ggml_or_are_refused_as_there(calls, ggml, is_valid, name, matters, data):
    weights = data.draw(_ROWS)
    given_importance = data.draw(_IMPORTANCE) if matters else None
    found = calls.quantised(name, weights, given_importance)
    expected = ggml(name, weights, given_importance)
    assert found == (expected if is_valid(name, expected) else None)


@pytest.mark.slow_cases(r"\[(?!Q4_K|IQ4_NL|Q8_0)")
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("name", KERNELS)
def test_weights_that_are_not_finite_are_reported(calls, name, kind, bad):
    weights = bell("not finite", 16)
    weights[7, 300] = bad
    raw = {
        "F32": lambda: weights,
        "F16": lambda: weights.astype(np.float16),
        "BF16": lambda: (weights.view(np.uint32) >> 16).astype(np.uint16),
    }[kind]()
    _, flags = calls.blocks(name, raw, needed(name), kind=kind)
    assert flags & NOT_FINITE


@pytest.mark.parametrize("name", sorted(KERNELS.keys() - {"MXFP4"}))
def test_scales_beyond_binary16_are_reported(calls, name):
    _, flags = calls.blocks(name, bell("too large", 16) * np.float32(2.0**60), needed(name))
    assert flags & OVERFLOW


def test_a_float_rounds_to_f16_and_bf16_as_ggml_rounds_it():
    """All 2**16 upper halves of a float, each with lower halves around the ties."""
    calls = Calls()
    upper = np.arange(2**16, dtype=np.uint32) << 16
    bits = np.concatenate([upper | low for low in (0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF)])
    finite = bits[(bits & 0x7F800000) != 0x7F800000]
    weights = finite.view(np.float32)
    with np.errstate(over="ignore"):
        half = weights.astype(np.float16).view(np.uint16)
    expected = {
        "F32": finite.tobytes(),
        "F16": half.tobytes(),
        "BF16": ((finite + 0x7FFF + ((finite >> 16) & 1)) >> 16).astype(np.uint16).tobytes(),
    }
    made = {}
    for name in FLOATS:
        room = np.zeros(weights.size + 64, dtype=np.uint32)
        padded = np.concatenate([weights, np.zeros(64, dtype=np.float32)])
        flags = np.zeros(1, dtype=np.int32)
        kernel = calls.get(name, "F32")
        kernel.call(padded.ctypes.data, None, None, room.ctypes.data, 0, weights.size, 0, flags.ctypes.data)
        made[name] = room.tobytes()[: len(expected[name])]
    assert made == expected


def test_exponent_of_mxfp4_is_that_of_the_c_library(calls, ggml):
    """`floorf(log2f(x))` of the 48 numbers below every power of two, where the logarithm may round up to it."""
    powers = np.arange(2, 255, dtype=np.uint32) << 23
    below = (powers[:, None] - np.arange(1, 49, dtype=np.uint32)).reshape(-1)
    values = np.concatenate([below, powers, np.arange(1, 4097, dtype=np.uint32)]).view(np.float32)
    weights = np.zeros((values.size, 32), dtype=np.float32)
    weights[:, 3] = values
    rows = weights[: weights.shape[0] // 16 * 16].reshape(-1, COLUMNS)
    assert calls.blocks("MXFP4", rows)[0] == ggml("MXFP4", rows)


@pytest.mark.parametrize(
    ("zeros", "reported"),
    [(slice(64, 96), True), (slice(224, 256), False), (slice(0, 256), False), (slice(70, 90), False)],
    ids=["in the middle", "at the end", "a whole block", "part of a group"],
)
def test_weights_that_iq3_s_misplaces_are_reported(calls, ggml, zeros, reported):
    weights = bell("misplaced", 1)
    weights[0, zeros] = 0
    found, flags = calls.blocks("IQ3_S", weights)
    assert (found, flags) == (ggml("IQ3_S", weights), MISPLACED if reported else 0)
