"""Small models: sound GGUF files that llama.cpp can quantise, with weights from a seed."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

from lftool.formats.gguf_write import TensorData, write_gguf

if TYPE_CHECKING:
    from pathlib import Path


def _weights(generator: random.Random, count: int, kind: str) -> bytes:
    values = [(generator.getrandbits(16) - 32768) * 2.0**-19 for _ in range(count)]
    return struct.pack(f"<{count}{'e' if kind == 'F16' else 'f'}", *values)


def tiny_gguf(path: Path, *, layers: int = 1, width: int = 256, kind: str = "F16", seed: int = 0) -> Path:
    """Write a Llama of `layers` layers whose matrices are `width` x `width`; return `path`.

    It has no tokenizer. You can quantise, pack, verify and load it, but not run it.

    Args:
        path: Where to write.
        layers: Number of layers.
        width: A multiple of 256, so that every K-quant applies; 32 is enough for files that are not quantised.
        kind: `F16` or `F32`, the type of the matrices.
        seed: Seed of the weights.
    """
    generator = random.Random(seed)  # noqa: S311 - weights, not secrets
    matrices = ["token_embd"]
    for layer in range(layers):
        matrices += [
            f"blk.{layer}.{name}"
            for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down", "ffn_up")
        ]
    matrices.append("output")
    tensors = [
        TensorData(
            name=f"{name}.weight",
            dimensions=(width, width),
            type=kind,
            data=_weights(generator, width * width, kind),
        )
        for name in matrices
    ]
    norms = [f"blk.{layer}.{name}" for layer in range(layers) for name in ("attn_norm", "ffn_norm")] + ["output_norm"]
    ones = struct.pack(f"<{width}f", *[1.0] * width)
    tensors += [TensorData(name=f"{name}.weight", dimensions=(width,), type="F32", data=ones) for name in norms]
    metadata: dict[str, int | float | str] = {
        "general.architecture": "llama",
        "llama.block_count": layers,
        "llama.context_length": 64,
        "llama.embedding_length": width,
        "llama.feed_forward_length": width,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 4,
        "llama.attention.layer_norm_rms_epsilon": 1e-05,
        "llama.vocab_size": width,
        "llama.rope.dimension_count": width // 4,
        "tokenizer.ggml.model": "no_vocab",
        "general.file_type": 1 if kind == "F16" else 0,
    }
    with path.open("wb") as file:
        write_gguf(file, metadata, tensors)
    return path
