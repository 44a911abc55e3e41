"""The run contract as arguments of llama.cpp's server.

Source: llama.cpp, common/arg.cpp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Keys of the run contract, and the arguments that say the same, without their dashes.
_ARGUMENTS = {
    "context": ("ctx-size",),
    "max_tokens": ("n-predict",),
    "seed": ("seed",),
    "temperature": ("temp",),
    "top_k": ("top-k",),
    "top_p": ("top-p",),
    "min_p": ("min-p",),
    "repeat_penalty": ("repeat-penalty",),
    "reasoning": ("reasoning",),
    "grammar": ("grammar",),
    "cache_type": ("cache-type-k", "cache-type-v"),
    "rope_scaling": ("rope-scaling",),
    "rope_scale": ("rope-scale",),
    "rope_freq_base": ("rope-freq-base",),
    "yarn_original_context": ("yarn-orig-ctx",),
}
_NOT_THERE = {
    "system": "a system prompt",
    "stop": "strings that end an answer",
    "stop_tokens": "tokens that end an answer",
}


def llama_arguments(run: Mapping[str, Any]) -> dict[str, str]:
    """Return argument to value."""
    found: dict[str, str] = {}
    for key, names in _ARGUMENTS.items():
        value = run.get(key)
        if value is not None:
            found |= dict.fromkeys(names, str(value))
    return found


def lost_notes(run: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is to be told of what a run contract says and no argument of the server does."""
    lost = [text for key, text in _NOT_THERE.items() if run.get(key)]
    notes = [f"llama-server has no argument for {' and '.join(lost)}: clients have to send them"] if lost else []
    if run.get("json_schema"):  # findings/llama-server-default-schema-in-chats.sh
        notes.append("llama-server does not hold chats to the schema of --json-schema: clients have to send it")
    return tuple(notes)
