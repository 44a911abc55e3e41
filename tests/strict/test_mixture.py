"""`ggml-mix/1` gives every tensor the type that llama.cpp's dry run gives it: all architectures, all file types."""

from __future__ import annotations

import random
from array import array

import pytest
from tests.strict.random_models import ARCHITECTURES, write_random_model

from lftool.api import TensorType
from lftool.api.gguf import FILE_TYPES, GGML_TYPES, GGUFTensor, read_gguf
from lftool.errors import FormatError, LftoolError, RecipeError
from lftool_llamacpp.library import QuantizeCall, quantize_file
from lftool_strict.mixture.choose import Request, choose
from lftool_strict.mixture.model import ARCHITECTURES as KNOWN
from lftool_strict.mixture.model import model_of
from lftool_strict.mixture.pruning import pruned
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
    same = {"pure": "pure", "leave_output": "leave_output_tensor", "output": "output_tensor_type"}
    same |= {"embedding": "token_embedding_type", "prune": "prune_layers"}
    options = {same[name]: value for name, value in more.items() if name in same}
    expected = theirs(path, file_type=FILE_TYPES[file_type], imatrix=given, overrides=overrides, **options)
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
def test_an_architecture_gets_the_types_that_llama_cpp_gives_it(architecture, tmp_path):
    dice = random.Random(architecture)
    compared = refused = 0
    for seed in range(2):
        path = tmp_path / f"{seed}.gguf"
        write_random_model(path, architecture, seed)
        for file_type in dice.sample(sorted(FILE_TYPES), 5):
            made = compare(path, file_type, imatrix=dice.random() < 0.5)
            compared, refused = compared + made, refused + (not made)
    assert compared + refused == 10


def layers_of(path) -> int:
    with path.open("rb") as file:
        return model_of(file, read_gguf(file, path.stat().st_size, path.name)).layers


WISHES = {
    "pure": {"pure": True},
    "output left": {"leave_output": True},
    "output left, pure": {"leave_output": True, "pure": True},
    "type of the output": {"output": "Q8_0"},
    "type of the output, odd rows": {"output": "Q2_K"},
    "type of the embedding": {"embedding": "Q4_0"},
    "both": {"embedding": "F16", "output": "Q5_1"},
    "overrides": {"overrides": {"blk.0.ffn_down.weight": "Q8_0", "token_embd.weight": "Q4_K", "output.weight": "F32"}},
    "an override of a norm": {"overrides": {"blk.0.ffn_gate_inp.weight": "Q8_0"}},
    "the first layer left out": {"prune": (0,)},
    "a layer left out, overrides by new names": {"prune": (1,), "overrides": {"blk.0.ffn_down.weight": "Q8_0"}},
    "embeddings of the layers": {
        "embedding": "Q4_0",
        "overrides": {"per_layer_token_embd.weight": "Q8_0", "token_embd.weight": "Q6_K"},
    },
}


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES.keys())
def test_wishes_are_met_as_llama_cpp_meets_them(wish, tmp_path):
    dice, compared = random.Random(0), 0
    for number, architecture in enumerate(("llama", "gemma3n", "falcon", "qwen3moe", "bert", "gemma4")):
        path = tmp_path / f"{number}.gguf"
        for seed in range(3):
            write_random_model(path, architecture, seed)
            if "prune" in wish and layers_of(path) < 3:
                continue
            for file_type in ("Q4_K_M", "IQ2_XS", "Q8_0", "MXFP4_MOE", "F16", *dice.sample(sorted(FILE_TYPES), 2)):
                compared += compare(path, file_type, imatrix=True, **wish)
    assert compared > 60


def test_several_layers_are_left_out_as_there(tmp_path):
    path, compared = tmp_path / "model.gguf", 0
    for seed in range(8):
        write_random_model(path, "llama", seed)
        layers = layers_of(path)
        if layers > 5:
            compared += compare(path, "Q4_K_M", prune=(2, 3, layers - 1))
    assert compared > 2


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ((5,), "prune_layers: the model has layers 0 to 3, and no 5"),
        ((0, 1, 2, 3), "prune_layers: no layer would be left"),
    ],
)
def test_layers_that_cannot_be_left_out_are_refused(prune, message):
    with pytest.raises(RecipeError, match=message):
        pruned([], 4, prune)


def test_layers_of_an_encoder_are_not_left_out():
    tensor = GGUFTensor(
        name="enc.blk.0.ffn_up.weight", dimensions=(256, 2), type=GGML_TYPES["F32"], offset=0, size=2048
    )
    with pytest.raises(RecipeError, match="a model with an encoder and a decoder cannot be pruned"):
        pruned([tensor], 4, (1,))


@pytest.mark.slow
def test_every_file_type_of_every_architecture(tmp_path, capsys):
    """All choices; the count stands in ADR 0020."""
    made = refused = 0
    path = tmp_path / "model.gguf"
    for architecture in ARCHITECTURES:
        for seed in range(3):
            write_random_model(path, architecture, seed)
            for file_type in FILE_TYPES:
                for imatrix in (False, True):
                    equal = compare(path, file_type, imatrix=imatrix)
                    made, refused = made + equal, refused + (not equal)
    with capsys.disabled():
        print(f"\nggml-mix/1: {made} choices equal, {refused} refused by both")
    assert made > 30_000


def test_an_architecture_that_is_new_is_an_error_with_the_way_on(tmp_path):
    from lftool.api.gguf import TensorData, write_gguf

    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        data = TensorData(name="output.weight", dimensions=(256, 1), type="F32", data=bytes(1024))
        write_gguf(file, {"general.architecture": "llama9", "llama9.block_count": 1}, [data])
    with path.open("rb") as file, pytest.raises(RecipeError) as caught:
        model_of(file, read_gguf(file, path.stat().st_size, "made"))
    assert str(caught.value) == (
        "ggml-mix/1 does not know the architecture 'llama9' of the weights, so it cannot choose types"
    )
    assert caught.value.hints[0] == 'have llama.cpp choose and quantise: quantizer = "llama.cpp" in the target'
