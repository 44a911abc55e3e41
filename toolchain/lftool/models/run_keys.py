"""Names of the keys of the run contract; a plugin's records say which of them it applies."""

from __future__ import annotations

# Those that plugins of API 2.0 know.
FIRST_RUN_KEYS = (
    "context",
    "max_tokens",
    "min_p",
    "repeat_penalty",
    "seed",
    "stop",
    "system",
    "temperature",
    "top_k",
    "top_p",
)

RUN_KEYS = (
    *FIRST_RUN_KEYS,
    "cache_type",
    "grammar",
    "json_schema",
    "reasoning",
    "rope_freq_base",
    "rope_scale",
    "rope_scaling",
    "stop_tokens",
    "yarn_original_context",
)
