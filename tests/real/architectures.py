"""Small models of random weights, of many architectures, as transformers saves them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_WIDTH = 64
# What most configurations of transformers have; each takes those that it knows.
_COMMON = {
    "hidden_size": _WIDTH,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
}
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
# Name of the configuration's class, without `Config`, to what it needs besides; the model is its `ForCausalLM`.
SENTENCEPIECE: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Mistral": {},
    "Mixtral": _EXPERTS,
    "Gemma": {},
    "Gemma2": {"query_pre_attn_scalar": 16},
    "Phi3": {"pad_token_id": 0, "num_key_value_heads": 4, "original_max_position_embeddings": 128},
    "Arcee": {},
    "Ernie4_5": {},
    "Nemotron": {},
    "Ernie4_5_Moe": {**_EXPERTS, "moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 1},
}
BYTE_PAIRS: dict[str, dict[str, Any]] = {
    "Qwen2": {},
    "Qwen2Moe": {**_EXPERTS, "shared_expert_intermediate_size": 64},
    "Qwen3": {},
    "Qwen3Moe": _EXPERTS,
    "GPTNeoX": {"num_key_value_heads": None},
    "Falcon": {"new_decoder_architecture": True, "num_kv_heads": 2, "head_dim": None, "num_key_value_heads": None},
    "StableLm": {},
    "Starcoder2": {},
    "Olmo": {},
    "Olmo2": {},
    "Olmo3": {},
    "Olmoe": _EXPERTS,
    "Granite": {},
    "GraniteMoe": _EXPERTS,
    "GraniteMoeShared": {**_EXPERTS, "shared_intermediate_size": 64},
    "GraniteMoeHybrid": {
        **_EXPERTS,
        "shared_intermediate_size": 64,
        "mamba_n_heads": 8,
        "mamba_d_head": 16,
        "mamba_d_state": 16,
        "layer_types": ["mamba", "attention"],
    },
    "Cohere": {},
    "SmolLM3": {"pad_token_id": 0},
    "Phi": {},
    "Exaone4": {"layer_types": ["full_attention", "full_attention"], "sliding_window": None},
    "Mamba": {"state_size": 16, "expand": 2, "time_step_rank": 8},
    "Lfm2": {"layer_types": ["conv", "full_attention"], "block_ff_dim": 128, "block_auto_adjust_ff_dim": False},
    "SeedOss": {},
    "Apertus": {},
    "HunYuanDenseV1": {},
    "Dots1": {**_EXPERTS, "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1},
    "GptOss": {**_EXPERTS, "layer_types": ["sliding_attention", "full_attention"]},
    "Bloom": {"n_layer": 2, "n_head": 4},
}


def write_sentencepiece(story: Path, folder: Path) -> None:
    """Write tiny-story's tokenizer."""
    folder.mkdir()
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(story / name, folder / name)
    words = json.loads((story / "config.json").read_text())["vocab_size"]
    said = {"vocab_size": words, "bos_token_id": 1, "eos_token_id": 2}
    (folder / "words.json").write_text(json.dumps(said))


def write_byte_pairs(weights: Path, folder: Path) -> None:
    """Write SmolLM's tokenizer in the form of `tokenizer.json`, from a GGUF that has it."""
    import gguf

    fields = gguf.GGUFReader(weights).fields
    words, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    kinds = fields["tokenizer.ggml.token_type"].contents()
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    made = {
        "version": "1.0",
        "added_tokens": [
            {"id": index, "content": word, **plain}
            for index, (word, kind) in enumerate(zip(words, kinds, strict=True))
            if kind == gguf.TokenType.CONTROL
        ],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, level],
        },
        "decoder": level,
        "model": {"type": "BPE", "vocab": {word: index for index, word in enumerate(words)}, "merges": merges},
    }
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(made))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": words[0], "eos_token": words[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    (folder / "words.json").write_text(json.dumps({"vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 0}))


def write_model(name: str, extra: Mapping[str, Any], tokenizer: Path, folder: Path) -> None:
    """Write a model.

    Args:
        name: Of the configuration's class, without `Config`.
        extra: What the configuration says besides what most have; None takes something of that away.
        tokenizer: A folder with its tokenizer's files.
        folder: Where to write.
    """
    import torch
    import transformers

    torch.manual_seed(sum(name.encode()))
    said = json.loads((tokenizer / "words.json").read_text())
    wanted = {key: value for key, value in {**_COMMON, **extra, **said}.items() if value is not None}
    config = getattr(transformers, f"{name}Config")(**wanted)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    model.to(torch.float16).save_pretrained(folder)
    for path in tokenizer.iterdir():
        if path.name != "words.json":
            shutil.copy(path, folder / path.name)
