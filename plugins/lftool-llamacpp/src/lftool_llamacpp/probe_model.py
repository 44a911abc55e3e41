"""The fixed small model whose quantised file is the tool's fingerprint, and its importance matrix.

Every byte is determined here: weights are sums of raw 64-bit words of a named bit generator, whose raw stream NumPy
keeps stable, scaled by a power of two. A change of this file is a change of all fingerprints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np  # noqa: TID253 - this module is only imported in child processes

from lftool.api import TensorData, write_gguf

if TYPE_CHECKING:
    from pathlib import Path

_LAYERS = 4
_WIDTH = 256
_SEED = 0x1F7001
_METADATA: dict[str, int | float | str] = {
    "general.architecture": "llama",
    "general.name": "lftool fingerprint",
    "llama.block_count": _LAYERS,
    "llama.context_length": 32,
    "llama.embedding_length": _WIDTH,
    "llama.feed_forward_length": _WIDTH,
    "llama.attention.head_count": 8,
    "llama.attention.head_count_kv": 8,
    "llama.attention.layer_norm_rms_epsilon": 1e-05,
    "llama.vocab_size": _WIDTH,
    "llama.rope.dimension_count": _WIDTH // 8,
}


def _bell(seed: int, count: int) -> np.ndarray:
    """Return `count` bell-shaped float32 values of mean near 0, exact sums of 16-bit integers times 2**-20."""
    raw = np.random.PCG64(seed).random_raw(count)
    parts = [(raw >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)]
    total = sum(part.astype(np.int64) for part in parts) - 2 * 0xFFFF
    return np.asarray(total, dtype=np.float32) * np.float32(2.0**-20)


def _shapes() -> list[tuple[str, tuple[int, ...]]]:
    square = (_WIDTH, _WIDTH)
    found: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", square)]
    for layer in range(_LAYERS):
        names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down", "ffn_up")
        found += [(f"blk.{layer}.{name}.weight", square) for name in names]
        found += [(f"blk.{layer}.{name}.weight", (_WIDTH,)) for name in ("attn_norm", "ffn_norm")]
    return [*found, ("output_norm.weight", (_WIDTH,)), ("output.weight", square)]


def write_probe_model(path: Path) -> None:
    """Write the fixed model, F32, to `path`."""
    tensors = []
    for index, (name, dimensions) in enumerate(_shapes()):
        data = _bell(_SEED + index, int(np.prod(dimensions))).astype("<f4").tobytes()
        tensors.append(TensorData(name=name, dimensions=dimensions, type="F32", data=data))
    with path.open("wb") as file:
        write_gguf(file, _METADATA, tensors)


def probe_imatrix() -> dict[str, np.ndarray]:
    """Return the fixed importance matrix: one positive value per column of every quantised tensor."""
    return {
        name: np.abs(_bell(_SEED ^ 0xFFFF + index, dimensions[0])) + np.float32(2.0**-10)
        for index, (name, dimensions) in enumerate(_shapes())
        if len(dimensions) > 1
    }
