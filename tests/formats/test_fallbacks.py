"""How many bits a weight a plan comes to, and how many tensors fell back, as llama.cpp counts them."""

from __future__ import annotations

import pytest

from lftool.formats.fallbacks import Outcome, outcome
from lftool.formats.ggml_types import GGML_TYPES
from lftool.formats.gguf_read import GGUFTensor


def tensor(name: str, *dimensions: int, kind: str = "F16") -> GGUFTensor:
    size = GGML_TYPES[kind].block_bytes
    for length in dimensions:
        size *= length
    return GGUFTensor(name=name, dimensions=dimensions, type=GGML_TYPES[kind], offset=0, size=size)


def test_rows_that_blocks_divide_fall_back_on_nothing():
    found = outcome([tensor("a", 256, 2), tensor("b", 512, 2)], {"a": "Q4_K", "b": "Q6_K"}, "Q4_K_M")
    assert found == Outcome(
        bits=(512 * 4.5 + 1024 * 6.5625) / 1536,
        fallen_back=0,
        tensors=2,
        block=256,
        changed=2,
        requantized=(),
        before=3072,
        after=288 + 840,
    )
    assert found.sentence == "5.88 bits a weight"


def test_rows_that_they_do_not_divide_do():
    found = outcome([tensor("a", 256, 2), tensor("b", 288, 2)], {"a": "Q4_K", "b": "Q5_0"}, "Q4_K_M")
    assert (found.fallen_back, found.tensors, found.block) == (1, 2, 256)
    assert found.sentence.endswith("bits a weight, 1 of 2 tensors fell back")


@pytest.mark.parametrize("output", ["output.weight", "token_embd.weight"])
def test_the_output_has_types_of_its_own_and_does_not_count(output):
    found = outcome([tensor("a", 256, 2), tensor(output, 288, 2)], {"a": "Q4_K", output: "Q8_0"}, "Q4_K_S")
    assert found.fallen_back == 0


def test_an_embedding_beside_an_output_counts():
    names = ("token_embd.weight", "output.weight")
    found = outcome(
        [tensor("a", 256, 2), *(tensor(name, 288, 2) for name in names)],
        {"a": "Q4_K", "token_embd.weight": "Q5_0", "output.weight": "Q8_0"},
        "Q4_K_M",
    )
    assert found.fallen_back == 1


def test_what_keeps_its_type_counts_as_it_is():
    found = outcome([tensor("a", 64, kind="F32"), tensor("b", 64, 64)], {"a": "F32", "b": "Q8_0"}, "Q8_0")
    assert found == Outcome(
        bits=(64 * 32 + 4096 * 8.5) / 4160,
        fallen_back=0,
        tensors=2,
        block=32,
        changed=1,
        requantized=(),
        before=256 + 8192,
        after=256 + 4352,
    )


def test_what_is_quantised_already_is_told_apart():
    found = outcome(
        [GGUFTensor(name="a", dimensions=(256, 2), type=GGML_TYPES["Q4_1"], offset=0, size=320)], {"a": "Q8_0"}, "Q8_0"
    )
    assert (found.requantized, found.before, found.after, found.changed) == (("Q4_1",), 320, 544, 1)


@pytest.mark.parametrize(
    ("produces", "block"),
    [("Q4_K_M", 256), ("Q6_K", 256), ("IQ2_M", 256), ("IQ4_NL", 32), ("Q4_0", 32), ("MXFP4_MOE", 32), ("MINE", 1)],
)
def test_the_block_is_that_of_the_file_type(produces, block):
    assert outcome([tensor("a", 288, 2)], {"a": "Q5_0"}, produces).block == block
