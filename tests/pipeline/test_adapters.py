"""An adapter that llama.cpp would not load, or would apply in part, is an error before anything is locked."""

from __future__ import annotations

import io

import pytest

from lftool.api.gguf import TensorData, read_gguf, write_gguf
from lftool.errors import RecipeError
from lftool.pipeline.model.adapters import check_adapter


def header(architecture: str, tensors: dict[str, tuple[int, ...]]):
    """Return the header of a GGUF with these tensors, first dimension first."""
    out = io.BytesIO()
    made = []
    for name, dimensions in tensors.items():
        count = 1
        for dimension in dimensions:
            count *= dimension
        made.append(TensorData(name=name, dimensions=dimensions, type="F32", data=bytes(4 * count)))
    write_gguf(out, {"general.architecture": architecture}, made)
    size = out.tell()
    out.seek(0)
    return read_gguf(out, size, "made")


WEIGHTS = {"blk.0.attn_q.weight": (8, 6), "token_embd.weight": (8, 10), "blk.0.attn_norm.weight": (8,)}
Q, EMBEDDING = "blk.0.attn_q.weight", "token_embd.weight"
FITS = {f"{Q}.lora_a": (8, 2), f"{Q}.lora_b": (2, 6)}
GOOD = {
    "a matrix": FITS,
    "the embedding, which is kept the other way round": {f"{EMBEDDING}.lora_a": (2, 10), f"{EMBEDDING}.lora_b": (2, 8)},
}
BAD = {
    "another width": ({f"{Q}.lora_a": (4, 2), f"{Q}.lora_b": (2, 6)}, "it is for another model"),
    "another height": ({f"{Q}.lora_a": (8, 2), f"{Q}.lora_b": (2, 5)}, "it is for another model"),
    "two ranks": ({f"{Q}.lora_a": (8, 2), f"{Q}.lora_b": (3, 6)}, "it is for another model"),
    "a tensor that is not there": (
        {"blk.7.attn_q.weight.lora_a": (8, 2), "blk.7.attn_q.weight.lora_b": (2, 6)},
        "changes blk.7.attn_q.weight, which the weights do not have",
    ),
    "one factor": ({f"{Q}.lora_a": (8, 2)}, "only one of the two factors of blk.0.attn_q.weight"),
    "a norm": ({**FITS, "blk.0.attn_norm.weight": (8,)}, "trained norms \\(blk.0.attn_norm.weight\\)"),
    "nothing": ({"x": (8, 2)}, "changes no tensor"),
    "a vector": ({f"{Q}.lora_a": (8,), f"{Q}.lora_b": (6,)}, "it is for another model"),
}


@pytest.mark.parametrize("adapter", GOOD.values(), ids=GOOD.keys())
def test_one_that_fits_is_taken(adapter):
    check_adapter(header("llama", adapter), header("llama", WEIGHTS), "tuned")


@pytest.mark.parametrize(("adapter", "said"), BAD.values(), ids=BAD.keys())
def test_one_that_does_not_is_an_error(adapter, said):
    with pytest.raises(RecipeError, match=said):
        check_adapter(header("llama", adapter), header("llama", WEIGHTS), "tuned")


def test_one_of_another_architecture_is_an_error():
    with pytest.raises(RecipeError, match="for models of architecture 'qwen2', but the weights are 'llama'"):
        check_adapter(header("qwen2", FITS), header("llama", WEIGHTS), "tuned")
