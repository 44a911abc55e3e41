"""`ggml-mix/1` gives every tensor the type that llama.cpp's dry run gives it: all architectures, all file types."""

from __future__ import annotations

import random
from array import array

import pytest
from tests.strict.random_models import ARCHITECTURES, write_random_model

from lftool.api import TensorType
from lftool.api.gguf import FILE_TYPES, read_gguf
from lftool.errors import FormatError, LftoolError, RecipeError
from lftool_llamacpp.library import QuantizeCall, quantize_file
from lftool_strict.mixture.choose import Request, choose
from lftool_strict.mixture.model import ARCHITECTURES as KNOWN
from lftool_strict.mixture.model import model_of
from lftool_strict.mixture.rules import ROWS


def theirs(path, **call) -> list[TensorType] | str:
    found = []
    try:
        quantize_file(
            path,
            path.with_name("never written"),
            QuantizeCall(dry_run=True, **call),
            lambda line: found.append(TensorType(tensor=line.name, type=line.type)),
        )
    except RecipeError as error:
        if "importance matrix" not in error.message:
            raise
    except FormatError as error:
        return error.message
    return found


def ours(path, request: Request) -> list[TensorType] | str:
    with path.open("rb") as file:
        header = read_gguf(file, path.stat().st_size, path.name)
        try:
            return list(choose(model_of(file, header), header.tensors, request))
        except LftoolError as error:
            return error.message


def compare(path, file_type: str, *, imatrix: bool = False, **more) -> bool:
    """Compare one choice; return whether both made one, else both must refuse."""
    given = {"anything.weight": array("f", [1.0])} if imatrix else None
    overrides = tuple(TensorType(tensor=name, type=kind) for name, kind in more.get("overrides", {}).items())
    expected = theirs(
        path, file_type=FILE_TYPES[file_type], imatrix=given, overrides=overrides, pure=more.get("pure", False)
    )
    made = ours(path, Request(file_type=file_type, imatrix=imatrix, **more))
    if isinstance(expected, str) or isinstance(made, str):
        assert isinstance(expected, str), f"only ggml-mix/1 refuses: {made}"
        assert isinstance(made, str), f"only llama.cpp refuses: {expected}"
        return False
    wrong = [(one, other) for one, other in zip(expected, made, strict=True) if one != other]
    assert wrong == []
    return True


def test_every_architecture_and_every_file_type_is_known():
    assert set(ARCHITECTURES) == KNOWN
    assert set(ROWS) == set(FILE_TYPES)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture_gets_the_types_that_llama_cpp_gives_it(architecture, tmp_path, capsys):
    dice = random.Random(architecture)
    compared = refused = 0
    for seed in range(2):
        path = tmp_path / f"{seed}.gguf"
        write_random_model(path, architecture, seed)
        for file_type in dice.sample(sorted(FILE_TYPES), 5):
            made = compare(path, file_type, imatrix=dice.random() < 0.5)
            compared, refused = compared + made, refused + (not made)
    with capsys.disabled():
        pass
    assert compared + refused == 10
