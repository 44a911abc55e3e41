"""Models that came after the engine that is to load them."""

from __future__ import annotations

_SAID = ("unknown model architecture", "unknown pre-tokenizer type", "invalid ggml type")


def may_be_newer(reason: str) -> bool:
    """Return whether llama.cpp's reason for not loading a model is that it does not know something of it."""
    return any(said in reason for said in _SAID)
