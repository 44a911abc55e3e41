"""A synthetic Llama of a given size in bytes: random weights, the example's tokenizer, so that it also runs."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from lftool.formats.gguf_read import GGUFArray, padding, read_gguf
from lftool.formats.gguf_write import TensorData, gguf_header

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, FEED_FORWARD = 2048, 8192
_FLOAT, _STRING = 6, 8
_FIRST_TEXT_TOKEN = 259  # after <unk>, <s>, </s> and 256 bytes


def _array(data: bytes, value: GGUFArray) -> tuple[Any, ...]:
    """Decode an array of the example's metadata."""
    if value.element_type == _STRING:
        found, position = [], value.start
        for _ in range(value.count):
            (length,) = struct.unpack_from("<Q", data, position)
            found.append(data[position + 8 : position + 8 + length].decode())
            position += 8 + length
        return tuple(found)
    kind = "f" if value.element_type == _FLOAT else "i"
    return struct.unpack_from(f"<{value.count}{kind}", data, value.start)


def write_model(
    path: Path, example: Path, size: int, seed: int = 1, *, width: int = WIDTH, feed_forward: int = FEED_FORWARD
) -> None:
    """Write a model of about `size` bytes of F16 weights."""
    data = example.read_bytes()
    with example.open("rb") as file:
        header = read_gguf(file, len(data), str(example))
    metadata = {
        key: _array(data, value) if isinstance(value, GGUFArray) else value for key, value in header.metadata.items()
    }
    per_layer = 4 * width * width + 3 * width * feed_forward
    layers = max(1, round(size / 2 / per_layer))
    metadata |= {
        "llama.block_count": layers,
        "llama.embedding_length": width,
        "llama.feed_forward_length": feed_forward,
        "llama.attention.head_count": 16,
        "llama.attention.head_count_kv": 16,
        "llama.attention.key_length": width // 16,
        "llama.attention.value_length": width // 16,
        "llama.rope.dimension_count": width // 16,
    }
    vocabulary = metadata["llama.vocab_size"]
    assert isinstance(vocabulary, int)
    shapes: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (width, vocabulary)),
        ("output.weight", (width, vocabulary)),
        ("output_norm.weight", (width,)),
    ]
    for layer in range(layers):
        shapes += [
            (f"blk.{layer}.{name}.weight", (width, width)) for name in ("attn_q", "attn_k", "attn_v", "attn_output")
        ]
        shapes += [(f"blk.{layer}.{name}.weight", (width, feed_forward)) for name in ("ffn_gate", "ffn_up")]
        shapes += [(f"blk.{layer}.ffn_down.weight", (feed_forward, width))]
        shapes += [(f"blk.{layer}.{name}.weight", (width,)) for name in ("attn_norm", "ffn_norm")]
    tensors, sizes = [], []
    for name, dimensions in shapes:
        kind = "F16" if len(dimensions) > 1 else "F32"
        tensors.append(TensorData(name=name, dimensions=dimensions, type=kind, data=b""))
        sizes.append(int(np.prod(dimensions)) * (2 if kind == "F16" else 4))
    generator = np.random.default_rng(seed)
    with path.open("wb") as out:
        out.write(gguf_header(metadata, tensors, sizes))
        for tensor, count in zip(tensors, sizes, strict=True):
            if tensor.type == "F32":
                out.write(np.ones(tensor.dimensions, dtype="<f4").tobytes())
            else:
                values = generator.standard_normal(int(np.prod(tensor.dimensions)), dtype=np.float32)
                if tensor.name == "output.weight":  # never a control or byte token: a first token must show
                    values[: _FIRST_TEXT_TOKEN * width] = 0
                out.write((values * np.float32(0.02)).astype("<f2").tobytes())
            out.write(bytes(padding(count, 32)))
