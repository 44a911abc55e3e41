"""The scale of an adapter: what PEFT applies, or an error that names what a GGUF has no place for."""

from __future__ import annotations

import math

import pytest

from lftool.api.gguf import SafetensorsTensor
from lftool.errors import FormatError, RecipeError
from lftool_llamacpp.lora import alpha_of

MODULES = ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj")
PLAIN = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


def tensor(name: str, *shape: int) -> SafetensorsTensor:
    return SafetensorsTensor(name=name, type="F32", shape=shape, offset=0, size=0)


def factors(ranks: tuple[int, int] = (4, 4)) -> list[SafetensorsTensor]:
    made = []
    for module, rank in zip(MODULES, ranks, strict=True):
        made.append(tensor(f"base_model.model.{module}.lora_A.weight", rank, 64))
        made.append(tensor(f"base_model.model.{module}.lora_B.weight", 64, rank))
    return made


def applied_by_peft(config: dict, rank: int, alpha: float) -> float:
    """Return the scale; peft/tuners/lora/layer.py."""
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


SCALES = {
    "plain": (PLAIN, (4, 4), 8),
    "r that is not said": ({"peft_type": "LORA", "lora_alpha": 8}, (4, 4), 8),
    "rank-stabilised": (PLAIN | {"use_rslora": True}, (4, 4), 8),
    "ranks of their own": (PLAIN | {"rank_pattern": {"down_proj": 16}}, (4, 16), 8),
    "one alpha for all by pattern": (PLAIN | {"alpha_pattern": {"q_proj": 2, r".*\.down_proj": 2}}, (4, 4), 2),
    "a fraction": (PLAIN | {"lora_alpha": 0.5}, (4, 4), 0.5),
}


@pytest.mark.parametrize(("config", "ranks", "alpha"), SCALES.values(), ids=SCALES.keys())
def test_llama_cpp_applies_what_peft_applies(config, ranks, alpha):
    found = alpha_of(config, factors(ranks))
    for rank in ranks:
        assert found / rank == pytest.approx(applied_by_peft(config, rank, alpha))


REFUSED = {
    "alphas of their own": (PLAIN | {"alpha_pattern": {"q_proj": 2}}, [], "alpha_pattern gives"),
    "rank-stabilised with ranks of their own": (
        PLAIN | {"use_rslora": True, "rank_pattern": {"down_proj": 16}},
        None,
        "use_rslora with rank_pattern gives",
    ),
    "weight-decomposed": (PLAIN | {"use_dora": True}, [], "use_dora"),
    "biases": (PLAIN | {"bias": "all"}, [], "bias is 'all'"),
    "a bias of the factors": (PLAIN | {"lora_bias": True}, [], "lora_bias"),
    "a trained norm": (PLAIN, [tensor("base_model.model.model.norm.weight", 64)], "model.norm.weight"),
    "a trained layer norm": (PLAIN, [tensor("model.layers.0.input_layernorm.weight", 64)], "input_layernorm.weight"),
    "a magnitude": (PLAIN, [tensor(f"{MODULES[0]}.lora_magnitude_vector", 64)], "lora_magnitude_vector"),
    "a module that is saved": (PLAIN, [tensor("base_model.model.lm_head.weight", 9, 64)], "lm_head.weight"),
}


@pytest.mark.parametrize(("config", "more", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_gguf_has_no_place_for_is_named(config, more, named):
    tensors = factors((4, 16)) if more is None else [*factors(), *more]
    with pytest.raises(RecipeError, match=named):
        alpha_of(config, tensors)


DAMAGED = {
    "no object": ([], "not a JSON object"),
    "no alpha": ({"peft_type": "LORA", "r": 4}, "lora_alpha must be a number"),
    "alpha of nothing": (PLAIN | {"lora_alpha": 0}, "lora_alpha must be a number above zero, not 0"),
    "alpha that is no number": (PLAIN | {"lora_alpha": float("nan")}, "lora_alpha"),
    "another rank": (PLAIN | {"r": 8}, "has rank 8, and"),
    "a pattern that is none": (PLAIN | {"alpha_pattern": {"(": 1}}, "not a valid pattern"),
}


@pytest.mark.parametrize(("config", "said"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_configuration_that_is_wrong_is_named(config, said):
    with pytest.raises(FormatError, match=said):
        alpha_of(config, factors())


def test_the_base_layers_that_peft_keeps_are_passed_over():
    assert alpha_of(PLAIN, [*factors(), tensor("base_model.model.x.base_layer.weight", 64, 64)]) == 8
