"""A fixed small Llama and its importance matrix; a quantizer's output for it is the quantizer's fingerprint.

Quantizers of the same semantics use the same model, so that fingerprints can be compared. Every byte is fixed: weights
are exact sums of SHAKE-256 output times a power of two. Changing the model changes every fingerprint.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from typing import TYPE_CHECKING

from lftool.formats.gguf_write import TensorData, write_gguf

if TYPE_CHECKING:
    from pathlib import Path

_LAYERS = 4
_WIDTH = 256
_MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down", "ffn_up")
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


def _bell(name: str, count: int) -> array[float]:
    """Return `count` bell-shaped values with mean near 0, each the sum of four bytes scaled by 2**-12."""
    raw = hashlib.shake_256(f"lftool fingerprint {name}".encode()).digest(4 * count)
    parts = zip(raw[:count], raw[count : 2 * count], raw[2 * count : 3 * count], raw[3 * count :], strict=True)
    return array("f", ((a + b + c + d - 510) * 2.0**-12 for a, b, c, d in parts))


def _little(values: array[float]) -> bytes:
    if sys.byteorder == "big":
        values = array("f", values)
        values.byteswap()
    return values.tobytes()


def _shapes() -> list[tuple[str, tuple[int, ...]]]:
    square = (_WIDTH, _WIDTH)
    found: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", square)]
    for layer in range(_LAYERS):
        found += [(f"blk.{layer}.{name}.weight", square) for name in _MATRICES]
        found += [(f"blk.{layer}.{name}.weight", (_WIDTH,)) for name in ("attn_norm", "ffn_norm")]
    return [*found, ("output_norm.weight", (_WIDTH,)), ("output.weight", square)]


def write_probe_model(path: Path) -> None:
    """Write the fixed model: 30 matrices of 256 by 256 and 9 norms, F32.

    Raises:
        OSError: It cannot be written.
    """
    # Layers share their matrices, rotated by one row each: the probe tests the arithmetic, not the model.
    data = {}
    tensors = []
    for name, dimensions in _shapes():
        layer, _, short = name.removeprefix("blk.").partition(".")
        key = short if name.startswith("blk.") else name
        if key not in data:
            data[key] = _little(_bell(key, _WIDTH * (_WIDTH if len(dimensions) > 1 else 1)))
        turn = 4 * _WIDTH * int(layer) if name.startswith("blk.") and len(dimensions) > 1 else 0
        tensors.append(
            TensorData(name=name, dimensions=dimensions, type="F32", data=data[key][turn:] + data[key][:turn])
        )
    with path.open("wb") as file:
        write_gguf(file, _METADATA, tensors)


def write_probe_imatrix(path: Path) -> None:
    """Write the importance matrix of the fixed model: one positive value per column of every matrix.

    Raises:
        OSError: It cannot be written.
    """
    tensors = []
    for name, dimensions in _shapes():
        if len(dimensions) > 1:
            sums = array("f", (abs(value) + 2.0**-10 for value in _bell(f"importance of {name}", dimensions[0])))
            one = _little(array("f", [1.0]))
            tensors.append(
                TensorData(name=f"{name}.in_sum2", dimensions=(dimensions[0], 1), type="F32", data=_little(sums))
            )
            tensors.append(TensorData(name=f"{name}.counts", dimensions=(1, 1), type="F32", data=one))
    with path.open("wb") as file:
        write_gguf(file, {"general.type": "imatrix"}, tensors)
