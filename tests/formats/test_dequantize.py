"""Decoded blocks are what gguf-py decodes, and for types that it lacks, what llama.cpp does."""

from __future__ import annotations

import ctypes
import random
import struct
from itertools import pairwise

import numpy as np
import pytest

from lftool.formats.dequantize import DECODED, decode_block
from lftool.formats.ggml_types import GGML_TYPES

gguf = pytest.importorskip("gguf")

_HALVES = {  # where a block's scales of 16 bits are
    **dict.fromkeys(("Q1_0", "Q2_0", "Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS", "IQ1_S"), (0,)),
    **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q6_K": (208,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
}
_LACKING = {"Q1_0", "Q2_0"}  # in gguf 0.19


def _block(kind: str, seed: int) -> bytes:
    """Return a block of random bits whose scales are finite."""
    draw = random.Random(seed)
    data = bytearray(draw.randbytes(GGML_TYPES[kind].block_bytes))
    for place in _HALVES.get(kind, ()):
        data[place : place + 2] = struct.pack("<e", draw.uniform(-2, 2))
    if kind == "IQ1_M":  # its scale is the highest four bits of four numbers
        (half,) = struct.unpack("<H", struct.pack("<e", draw.uniform(0.01, 2)))
        for number in range(4):
            data[49 + 2 * number] = data[49 + 2 * number] & 0x0F | (half >> 4 * number & 15) << 4
    if kind == "MXFP4":
        data[0] = draw.randrange(100, 140)
    return bytes(data)


def _expected(kind: str, data: bytes) -> list[float]:
    if kind in _LACKING:
        llama_cpp = pytest.importorskip("llama_cpp")
        base = ctypes.CDLL(next(iter(llama_cpp.llama_cpp._base_path.glob("libggml-base.so*"))))
        out = (ctypes.c_float * GGML_TYPES[kind].block_elements)()
        getattr(base, f"dequantize_row_{kind.lower()}")(data, out, ctypes.c_int64(len(out)))
        return list(out)
    found = gguf.quants.dequantize(np.frombuffer(data, np.uint8), gguf.GGMLQuantizationType[kind])
    return [float(value) for value in found.ravel()]


@pytest.mark.parametrize("kind", sorted(DECODED - {"F32", "F16", "BF16", "F64"}))
def test_a_block_is_decoded_as_others_decode_it(kind: str) -> None:
    for seed in range(20):
        data = _block(kind, seed)
        assert decode_block(kind, data).values == pytest.approx(_expected(kind, data), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", sorted(DECODED - {"F32", "F16", "BF16", "F64"}))
def test_a_step_is_at_least_the_distance_of_neighbouring_levels(kind: str) -> None:
    found = decode_block(kind, _block(kind, 1))
    for value in {round(step, 12) for step in found.steps}:
        group = sorted(x for x, step in zip(found.values, found.steps, strict=True) if round(step, 12) == value)
        gaps = [after - before for before, after in pairwise(group)]
        assert min((gap for gap in gaps if gap > 1e-9), default=0.0) <= value * 1.0001


def test_floats_are_what_they_are() -> None:
    assert decode_block("BF16", struct.pack("<2H", 0x3F80, 0xC000)).values == [1.0, -2.0]
    assert decode_block("F16", struct.pack("<2e", 0.5, -3.0)).values == [0.5, -3.0]
    assert decode_block("F32", struct.pack("<f", 1.25)).steps == [0.0]


def test_a_block_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="17 bytes are not a block of Q4_0"):
        decode_block("Q4_0", bytes(17))
