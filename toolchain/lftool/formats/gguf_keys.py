"""The names of GGUF keys that llama.cpp reads, and the types of those whose type is always the same.

Source: `Keys` in gguf-py's constants.py (gguf 0.19.0, a test compares them); types as llama.cpp's conversion writes them.
"""

from __future__ import annotations

import re

_ARCHITECTURE = """
activation_sparsity_scale altup.active_idx altup.num_inputs attention.causal attention.clamp_kqv
attention.decay_lora_rank attention.gate_lora_rank attention.group_norm_epsilon attention.group_norm_groups
attention.head_count attention.head_count_kv attention.iclr_lora_rank attention.key_length
attention.key_length_mla attention.key_length_swa attention.kv_lora_rank attention.layer_norm_epsilon
attention.layer_norm_rms_epsilon attention.max_alibi_bias attention.output_scale attention.q_lora_rank
attention.relative_buckets_count attention.scale attention.shared_kv_layers attention.sliding_window
attention.sliding_window_pattern attention.temperature_length attention.temperature_scale attention.value_length
attention.value_length_mla attention.value_length_swa attention.value_residual_mix_lora_rank
attn_logit_softcapping block_count classifier.output_labels context_length convnext.block_count
convnext.embedding_length decoder_block_count decoder_start_token_id dense_2_feat_in dense_2_feat_out
dense_3_feat_in dense_3_feat_out embedding_length embedding_length_out embedding_length_per_layer_input
embedding_scale expert_chunk_feed_forward_length expert_count expert_feed_forward_length expert_gating_func
expert_group_count expert_group_scale expert_group_used_count expert_shared_count
expert_shared_feed_forward_length expert_used_count expert_weights_norm expert_weights_scale experts_per_group
features_length feed_forward_length final_logit_softcapping full_attention_interval interleave_moe_layer_step
kda.head_dim leading_dense_block_count logit_scale moe_every_n_layers moe_latent_size n_deepstack_layers
nextn_predict_layers pooling_type posnet.block_count posnet.embedding_length rescale_every_n_layers
residual_scale rope.dimension_count rope.dimension_count_swa rope.dimension_sections rope.freq_base
rope.freq_base_swa rope.scaling.alpha rope.scaling.attn_factor rope.scaling.factor rope.scaling.finetuned
rope.scaling.original_context_length rope.scaling.type rope.scaling.yarn_attn_factor rope.scaling.yarn_beta_fast
rope.scaling.yarn_beta_slow rope.scaling.yarn_ext_factor rope.scaling.yarn_log_multiplier
router_logit_softcapping shortconv.l_cache ssm.conv_kernel ssm.dt_b_c_rms ssm.group_count ssm.inner_size
ssm.state_size ssm.time_step_rank swiglu_clamp_exp swiglu_clamp_shexp swin_norm tensor_data_layout
time_decay_extra_dim time_mix_extra_dim token_shift_count use_parallel_residual vocab_size wkv.head_size
"""
# Keys of a model's architecture, without its name in front.
ARCHITECTURE_KEYS = frozenset(_ARCHITECTURE.split())
_TEXTS = ("name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url")
_GENERAL = {
    **{f"general.{name}": "string" for name in _TEXTS},
    "general.finetune": "string",
    "general.basename": "string",
    "general.quantized_by": "string",
    "general.size_label": "string",
    "general.license": "string",
    "general.license.name": "string",
    "general.license.link": "string",
    **{f"general.source.{name}": "string" for name in ("url", "doi", "uuid", "repo_url")},
    "general.base_model.count": "u32",
    "general.dataset.count": "u32",
    "general.tags": "[string]",
    "general.languages": "[string]",
    "general.sampling.sequence": "string",
    "general.sampling.top_k": "i32",
    "general.sampling.top_p": "f32",
    "general.sampling.min_p": "f32",
    "general.sampling.xtc_probability": "f32",
    "general.sampling.xtc_threshold": "f32",
    "general.sampling.temp": "f32",
    "general.sampling.penalty_last_n": "i32",
    "general.sampling.penalty_repeat": "f32",
    "general.sampling.mirostat": "i32",
    "general.sampling.mirostat_tau": "f32",
    "general.sampling.mirostat_eta": "f32",
}
_TOKENS = (
    "bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask", "fim_pre", "fim_suf", "fim_mid", "fim_pad",
    "fim_rep", "fim_sep", "prefix", "suffix", "middle",
)  # fmt: skip
_FLAGS = ("add_bos_token", "add_eos_token", "add_sep_token", "add_space_prefix", "remove_extra_whitespaces")
_TOKENIZER = {
    **{f"tokenizer.ggml.{name}_token_id": "u32" for name in _TOKENS},
    **{f"tokenizer.ggml.{name}": "bool" for name in _FLAGS},
    "tokenizer.ggml.pre": "string",
    "tokenizer.chat_template": "string",
}
_NUMBERED = re.compile(r"general\.(?:base_model|dataset)\.[0-9]+\.(\w+)\Z")
_TEMPLATE = re.compile(r"tokenizer\.chat_template\.[A-Za-z0-9_-]+\Z")

# Keys that say what the tensors and the vocabulary are; and where parts of a split file belong.
RESERVED = frozenset({
    "general.architecture", "general.type", "general.alignment", "general.file_type", "general.quantization_version",
    "tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.token_type_count",
    "tokenizer.ggml.scores", "tokenizer.ggml.merges", "tokenizer.ggml.precompiled_charsmap",
    "tokenizer.huggingface.json", "tokenizer.rwkv.world", "tokenizer.chat_templates",
})  # fmt: skip
_RESERVED_FIRST = frozenset({"split", "adapter", "clip", "imatrix", "quantize", "gguf"})
_SHARED_FIRST = frozenset({"general", "tokenizer", "diffusion", "xielu"})


def is_reserved(key: str) -> bool:
    """Return whether a key says what the tensors are, so that nobody may change it."""
    return key in RESERVED or key.lower().partition(".")[0] in _RESERVED_FIRST


def known_type(key: str) -> str | None:
    """Return the type of a standard key; None if it is no standard key, or its type depends on the model."""
    found = _GENERAL.get(key) or _TOKENIZER.get(key)
    if found is not None:
        return found
    numbered = _NUMBERED.match(key)
    if numbered is not None and numbered[1] in _TEXTS:
        return "string"
    return "string" if _TEMPLATE.match(key) else None


def is_standard(key: str, architecture: str) -> bool:
    """Return whether llama.cpp knows a key of a model of that architecture."""
    first, _, rest = key.partition(".")
    return known_type(key) is not None or (first == architecture and rest in ARCHITECTURE_KEYS)


def is_own(key: str, architecture: str) -> bool:
    """Return whether a key has a prefix of its owner's: none that llama.cpp uses."""
    first, dot, rest = key.partition(".")
    return bool(dot and rest) and first not in {architecture, *_SHARED_FIRST} and not is_reserved(key)
