"""What can be done about weights that are quantised already."""

from __future__ import annotations

REQUANTIZE = (
    "pack them as they are: leave out `quantize` in the target",
    "or start from F16, BF16 or F32 weights",
    'or quantise them again: quantizer = "llama.cpp" and options = { allow_requantize = true }',
)
