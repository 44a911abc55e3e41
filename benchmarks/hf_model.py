"""A synthetic Llama of a given size as Hugging Face files: random F16 weights, the example's tokenizer."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
from model import FEED_FORWARD, WIDTH

if TYPE_CHECKING:
    from pathlib import Path


def _shapes(layers: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, WIDTH),
        "lm_head.weight": (vocabulary, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}self_attn.{name}_proj.weight": (WIDTH, WIDTH) for name in "qkvo"}
        shapes |= {f"{prefix}mlp.{name}_proj.weight": (FEED_FORWARD, WIDTH) for name in ("gate", "up")}
        shapes[f"{prefix}mlp.down_proj.weight"] = (WIDTH, FEED_FORWARD)
        shapes |= {f"{prefix}{name}_layernorm.weight": (WIDTH,) for name in ("input", "post_attention")}
    return shapes


def write_hf_model(folder: Path, example: Path, size: int, seed: int = 1) -> None:
    """Write a model of about `size` bytes of F16 weights into a new folder.

    Args:
        folder: Where to write.
        example: A folder with configuration and tokenizer of a Llama.
        size: Of all matrices together, in bytes.
        seed: Of the weights.
    """
    folder.mkdir()
    config = json.loads((example / "config.json").read_text())
    layers = max(1, round(size / 2 / (4 * WIDTH * WIDTH + 3 * WIDTH * FEED_FORWARD)))
    config |= {
        "dtype": "float16",
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": WIDTH // 16,
    }
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(example / name, folder / name)
    header, position = {}, 0
    shapes = _shapes(layers, config["vocab_size"])
    for name, shape in shapes.items():
        count = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [position, position + count]}
        position += count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(seed)
    with (folder / "model.safetensors").open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            values = np.ones(shape, dtype="<f2")
            if len(shape) > 1:
                normal = generator.standard_normal(int(np.prod(shape)), dtype=np.float32)
                values = (normal * np.float32(0.02)).astype("<f2")
            out.write(values.tobytes())
