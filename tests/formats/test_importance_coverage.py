"""An importance matrix is of the weights: one that covers nothing is an error, and one that covers a part is told."""

from __future__ import annotations

import io
import warnings
from array import array

import pytest

from lftool.api import InputWarning, TensorType
from lftool.api.gguf import TensorData, check_coverage, read_gguf, write_gguf, write_probe_imatrix
from lftool.errors import FormatError, RecipeError

NAMES = ("token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_up_exps.weight", "blk.0.attn_norm.weight")
SHAPES = ((64, 8), (64, 4), (64, 4, 3), (64,))


def header():
    out = io.BytesIO()
    tensors = []
    for name, shape in zip(NAMES, SHAPES, strict=True):
        count = 1
        for length in shape:
            count *= length
        tensors.append(TensorData(name=name, dimensions=shape, type="F32", data=bytes(4 * count)))
    write_gguf(out, {"general.architecture": "llama"}, tensors)
    size = out.tell()
    out.seek(0)
    return read_gguf(out, size, "made")


def types(kind: str) -> list[TensorType]:
    return [*(TensorType(tensor=name, type=kind) for name in NAMES[:3]), TensorType(tensor=NAMES[3], type="F32")]


def matrix(*names: str) -> dict[str, array]:
    lengths = {"blk.0.ffn_up_exps.weight": 192}
    return {name: array("f", [1.0]) * lengths.get(name, 64) for name in names}


def test_one_that_covers_all_is_taken_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_coverage(header(), types("Q4_K"), matrix(*NAMES[:3]), "Q4_K_M")


def test_one_that_covers_a_part_is_told():
    with pytest.warns(InputWarning, match="covers 1 of the 2 tensors to quantise"):
        check_coverage(header(), types("Q4_K"), matrix(*NAMES[:2]), "Q4_K_M")


def test_one_that_covers_nothing_is_an_error():
    with pytest.raises(RecipeError, match="covers none of the 2 tensors to quantise: it was measured on another model"):
        check_coverage(header(), types("Q4_K"), matrix("blk.9.attn_q.weight"), "Q4_K_M")


@pytest.mark.parametrize(("kind", "made"), [("IQ2_XXS", "IQ2_XXS"), ("IQ1_M", "IQ1_M"), ("Q2_K", "Q2_K_S")])
def test_types_that_need_one_are_an_error_that_lists_what_is_missing(kind, made):
    with pytest.raises(RecipeError) as caught:
        check_coverage(header(), types(kind), matrix("blk.0.attn_q.weight"), made)
    assert str(caught.value).startswith(f"{made} needs an importance matrix, and this one does not cover ")
    assert "blk.0.ffn_up_exps.weight" in str(caught.value)


def test_token_embeddings_need_none():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_coverage(header(), types("IQ2_XXS"), matrix(*NAMES[1:3]), "IQ2_XXS")


def test_one_of_another_width_is_an_error():
    wrong = matrix(*NAMES[:3]) | {"blk.0.attn_q.weight": array("f", [1.0]) * 32}
    with pytest.raises(FormatError, match="has 32 values, expected 64: it was measured with another model"):
        check_coverage(header(), types("Q4_K"), wrong, "Q4_K_M")


def test_where_nothing_is_quantised_nothing_is_asked():
    check_coverage(header(), types("F32"), matrix("x"), "F32")


RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[sources.importance]
uri = "file:other.imatrix.gguf"
[model]
weights = "base"
imatrix = "importance"
[targets.q4]
quantize = "Q4_K_M"
layout = "gguf"
"""


def test_a_recipe_with_a_matrix_of_another_model_is_not_locked(plain_project):
    write_probe_imatrix(plain_project.root / "other.imatrix.gguf")
    with (plain_project.root / "other.imatrix.gguf").open("r+b") as file:
        data = file.read().replace(b"blk.", b"blx.").replace(b"output.", b"outputx")
        file.seek(0)
        file.write(data)
    plain_project.write_recipe(RECIPE)
    done = plain_project.run("lock")
    assert done.status == 2, done.err
    assert "the importance matrix covers none of the" in done.err
    assert not plain_project.lock.exists()
