"""Which keys of the run contract llama.cpp is told, by every runtime and engine of ours.

Names of lftool that come later are not in here until they are applied.
"""

from __future__ import annotations

APPLIED = (
    "cache_type",
    "context",
    "grammar",
    "json_schema",
    "max_tokens",
    "min_p",
    "reasoning",
    "repeat_penalty",
    "rope_freq_base",
    "rope_scale",
    "rope_scaling",
    "seed",
    "stop",
    "stop_tokens",
    "system",
    "temperature",
    "top_k",
    "top_p",
    "yarn_original_context",
)
