"""Every converted tensor keeps its type where GGUF can hold it, and no value is rounded to infinity without a word."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.plugins.test_converter import STORY, metadata

from lftool.api.gguf import read_gguf
from lftool.errors import RecipeError
from lftool_llamacpp.own_types import own_type

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EMBEDDING = "model.embed_tokens.weight"
GATE = "model.layers.0.mlp.gate_proj.weight"


def tensor_types(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        header = read_gguf(file, path.stat().st_size, "made")
    return {tensor.name: tensor.type.name for tensor in header.tensors}


@pytest.fixture
def changed(tmp_path) -> Callable:
    """Return a copy of the story model's folder in which tensors are changed: changed(name -> tensor)."""

    def make(change: Callable) -> Path:
        import torch
        from safetensors.torch import load_file, save_file

        folder = tmp_path / "changed"
        shutil.copytree(STORY, folder)
        tensors = load_file(folder / "model.safetensors")
        for name, tensor in tensors.items():
            tensors[name] = change(name, tensor, torch)
        save_file(tensors, folder / "model.safetensors")
        return folder

    return make


def of_types(**kinds: str) -> Callable:
    """Give the embedding, queries and all other tensors their types."""

    def change(name: str, tensor: object, torch: object) -> object:
        part = next((part for part in kinds if part in name), "others")
        return tensor.to(getattr(torch, kinds[part]))

    return change


def test_each_matrix_keeps_its_own_type(convert, changed):
    folder = changed(of_types(embed_tokens="bfloat16", q_proj="float16", others="float32"))
    found = tensor_types(convert(folder))
    matrices = {name: kind for name, kind in found.items() if "norm" not in name}
    assert matrices["token_embd.weight"] == "BF16"
    assert {kind for name, kind in matrices.items() if "attn_q" in name} == {"F16"}
    assert Counter(matrices.values()) == {"BF16": 1, "F16": 3, "F32": len(matrices) - 4}
    assert {kind for name, kind in found.items() if "norm" in name} == {"F32"}


def test_no_value_changes_where_types_are_kept(convert, changed):
    """The alphabetically first matrix is BF16, and the others hold what BF16 cannot."""
    folder = changed(of_types(embed_tokens="bfloat16", others="float32"))
    import numpy as np
    from safetensors.torch import load_file

    made = convert(folder)
    with made.open("rb") as file:
        header = read_gguf(file, made.stat().st_size, "made")
        tensor = next(each for each in header.tensors if each.name == "blk.0.ffn_gate.weight")
        file.seek(header.data_offset + tensor.offset)
        found = np.frombuffer(file.read(tensor.size), dtype="<f4")
    assert (found == load_file(folder / "model.safetensors")[GATE].numpy().ravel()).all()


@pytest.mark.slow_cases(r"'embed_tokens'")
@pytest.mark.parametrize(
    ("kinds", "number"),
    [({"others": "float16"}, 1), ({"others": "bfloat16"}, 32), ({"embed_tokens": "bfloat16", "others": "float32"}, 0)],
    ids=str,
)
def test_the_file_type_is_that_of_most_values(convert, changed, kinds, number):
    assert metadata(convert(changed(of_types(**kinds))))["general.file_type"] == number


def test_auto_is_the_first_type_of_16_bits_as_the_scripts_choose_it(convert, changed):
    folder = changed(of_types(embed_tokens="float32", gate_proj="bfloat16", others="float32"))
    found = tensor_types(convert(folder, "auto"))
    assert {kind for name, kind in found.items() if "norm" not in name} == {"BF16"}


def test_what_the_scripts_keep_in_f32_stays(convert, changed):
    """A router of experts, which is 16 bits wide in the checkpoint and F32 in every GGUF."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = changed(of_types(others="float16"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["MixtralForCausalLM"], "num_local_experts": 2, "num_experts_per_tok": 1}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    moe = {name: tensor for name, tensor in tensors.items() if ".mlp." not in name}
    for name, tensor in tensors.items():
        if ".mlp." in name:
            layer, _, part = name.partition(".mlp.")
            short = {"gate_proj.weight": "w1", "down_proj.weight": "w2", "up_proj.weight": "w3"}[part]
            kind = torch.float16 if short != "w2" else torch.bfloat16
            for expert in range(2):
                moe[f"{layer}.block_sparse_moe.experts.{expert}.{short}.weight"] = tensor.to(kind).clone()
            moe[f"{layer}.block_sparse_moe.gate.weight"] = torch.zeros(2, config["hidden_size"], dtype=torch.float16)
    save_file(moe, folder / "model.safetensors")
    found = tensor_types(convert(folder))
    assert {kind for name, kind in found.items() if "ffn_gate_inp" in name} == {"F32"}
    assert {kind for name, kind in found.items() if "ffn_gate_exps" in name} == {"F16"}
    assert {kind for name, kind in found.items() if "ffn_down_exps" in name} == {"BF16"}


@pytest.mark.slow_cases(r"\[(bf16|f16-70000)")
@pytest.mark.parametrize(
    ("kind", "value", "said", "hint"),
    [
        ("f16", 70000.0, "70144", '"bf16" or "f32"'),
        ("f16", -1e9, "-9.98244e+08", '"bf16" or "f32"'),
        ("bf16", 3.4e38, "3.4e+38", '"f32"'),
    ],
)
def test_a_value_that_does_not_fit_is_named(convert, changed, kind, value, said, hint):
    stored = "float32" if kind == "bf16" else "bfloat16"

    def change(name: str, tensor: object, torch: object) -> object:
        made = tensor.to(getattr(torch, stored))
        if name == GATE:
            made[3, 5] = value
        return made

    with pytest.raises(RecipeError) as caught:
        convert(changed(change), kind)
    assert (str(caught.value), caught.value.hints) == (
        f"tensor blk.0.ffn_gate.weight has the value {said}, which {kind.upper()} cannot hold",
        (f"under [model], set intermediate = {hint}, or leave it out: then every tensor keeps its type",),
    )


@pytest.mark.slow_cases(r"\[(-65504|inf)")
@pytest.mark.parametrize("value", [65504.0, -65504.0, float("inf")])
def test_a_value_that_fits_and_one_that_is_infinite_are_no_error(convert, changed, value):
    def change(name: str, tensor: object, torch: object) -> object:
        made = tensor.to(torch.float32)
        if name == EMBEDDING:
            made[3, 5] = value
        return made

    assert tensor_types(convert(changed(change), "f16"))["token_embd.weight"] == "F16"


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        ({"F16"}, "F16"),
        ({"BF16"}, "BF16"),
        ({"F32"}, "F32"),
        ({"F64"}, "F32"),
        ({"F32", "F64"}, "F32"),
        ({"F16", "BF16"}, "F32"),
        ({"F16", "F32"}, "F32"),
        ({"F8_E4M3"}, "BF16"),
        ({"F8_E4M3", "F32"}, "BF16"),
        ({"I32", "F16"}, "BF16"),
        (set(), "F32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(sorted(value)),
)
def test_the_type_that_holds_all_values(stored, kind):
    assert own_type(stored) == kind
