"""Arithmetics that fuse: the blocks of each are those that a compiler's code makes, and of no other.

The digests in arithmetics.json are of blocks that compiled code made: the ggml-quants.c of llama-cpp-python 0.3.36, -O3, by
GCC 12.2 for x86-64-v3, skylake-avx512, znver3 and AArch64, by Clang 14.0, 19.1 and 22.1 for x86-64-v3 and AArch64. AArch64
ran under emulation.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.strict.conftest import COLUMNS, MADE, Calls, bell, importance

from lftool_strict.arithmetics import PLAIN, arithmetics_for, fused_of
from lftool_strict.kernels.registry import KERNELS

GOLDEN = Path(__file__).with_name("arithmetics.json")
NAMES = tuple(item.name for item in arithmetics_for((), important=False))


@cache
def weights(name: str) -> np.ndarray:
    """Bell-shaped weights whose products need all bits of binary32."""
    rows = 48 if KERNELS[name].grid else 384
    return (bell("arithmetics", rows) * (np.float32(1) + bell("mantissas", rows))).astype(np.float32)


@cache
def made(name: str, matters: bool, fused: frozenset[str]) -> str:
    blocks = Calls(fused=fused).quantised(name, weights(name), importance() if matters else None)
    assert blocks is not None
    return hashlib.sha256(blocks).hexdigest()


@pytest.mark.parametrize(("name", "matters"), [item for item in MADE if KERNELS[item[0]].importance or not item[1]])
def test_blocks_are_those_of_the_compilers(name, matters):
    golden = json.loads(GOLDEN.read_text())[f"{name}+imatrix" if matters else name]
    found = {one: made(name, matters, fused_of(one, name, important=matters)) for one in NAMES}
    assert found == golden


def test_the_arithmetics_of_k_types_differ():
    """Else the digests above would say little."""
    golden = json.loads(GOLDEN.read_text())
    assert len(set(golden["Q4_K"].values())) >= 5
    assert len(set(golden["Q5_0+imatrix"].values())) >= 6


def test_types_without_a_product_before_a_sum_are_the_same_under_all():
    for name in ("Q8_0", "Q1_0", "Q2_0", "TQ1_0", "TQ2_0", "MXFP4"):
        assert {fused_of(one, name, important=False) for one in NAMES} == {frozenset()}


def test_an_arithmetic_names_only_places_that_the_kernel_has():
    assert fused_of(NAMES[1], "Q8_0", important=False) == frozenset()
    assert "kx.x" in fused_of(NAMES[1], "Q4_K", important=False)
    assert "qx.first.lx" not in fused_of(NAMES[1], "Q4_K", important=False)


def test_the_first_arithmetic_fuses_nothing():
    assert NAMES[0] == PLAIN
    assert {fused_of(PLAIN, name, important=matters) for name, matters in MADE} == {frozenset()}


def test_older_code_is_compared_only_where_a_file_has_a_type_that_it_differs_in():
    assert [item.name for item in arithmetics_for(("Q4_K", "F32"), important=False)] == list(NAMES)
    older = [item.name for item in arithmetics_for(("IQ1_M",), important=False)][len(NAMES) :]
    assert older
    assert all(name.endswith("/before-f95b0d9539") for name in older)
    with_matrix = [item.name for item in arithmetics_for(("Q4_K",), important=True)][len(NAMES) :]
    assert with_matrix == [f"{PLAIN}/before-f57fadc00", f"{PLAIN}+fma/gcc-x86-64-v3/before-f57fadc00"]


@pytest.mark.parametrize(
    ("name", "matters", "commit"),
    [
        ("IQ1_M", True, "f95b0d9539"),
        ("Q4_K", True, "f57fadc00"),
        ("Q5_K", True, "f57fadc00"),
        ("IQ3_XXS", False, "4c4cb3073"),
        ("IQ4_NL", True, "0becb22ac"),
    ],
)
def test_older_code_makes_the_blocks_that_it_made(name, matters, commit):
    """The digests are of code before each change, compiled without contraction and, for x86-64-v3, with."""
    golden = json.loads(GOLDEN.read_text())[f"before-{commit}"][name]
    arithmetics = [PLAIN, f"{PLAIN}+fma/gcc-x86-64-v3"]
    found = {
        one: made(name, matters, fused_of(f"{one}/before-{commit}", name, important=matters)) for one in arithmetics
    }
    assert found == golden
    assert COLUMNS == 512
