"""A fixed small Llama as Hugging Face files: what the converter makes of it is its fingerprint.

Every byte is determined here. A change of this file is a change of all fingerprints.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_WIDTH = 64
_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": _WIDTH,
    "intermediate_size": _WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
_TOKENIZER = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "chat_template": "{% for message in messages %}{{ message.content }}{% endfor %}",
}
_CARD = "---\nlicense: apache-2.0\nbase_model: example/base\nlanguage: en\ntags:\n- fingerprint\n---\n# Fingerprint\n"
_UNKNOWN, _CONTROL, _BYTE, _NORMAL = 2, 3, 6, 1


def _field(number: int, data: bytes) -> bytes:
    """Return a length-delimited field of a protocol buffer of less than 16 KiB."""
    length = len(data)
    size = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])  # noqa: PLR2004 - seven bits a byte
    return bytes([number << 3 | 2]) + size + data


def _pieces() -> list[tuple[str, float, int]]:
    found = [("<unk>", 0.0, _UNKNOWN), ("<s>", 0.0, _CONTROL), ("</s>", 0.0, _CONTROL)]
    found += [(f"<0x{byte:02X}>", 0.0, _BYTE) for byte in range(256)]
    return found + [(piece, -float(index), _NORMAL) for index, piece in enumerate(("▁", "▁the", "e", "a", "t"), 1)]


def _sentencepiece() -> bytes:
    """Return a SentencePiece model: pieces, and a trainer specification that says byte fallback (field 35)."""
    pieces = b"".join(
        _field(1, _field(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))
        for piece, score, kind in _pieces()
    )
    return pieces + _field(2, bytes([0x18, 1, 0x98, 0x02, 1])) + _field(3, _field(1, b"identity"))


def _shapes(words: int) -> dict[str, tuple[int, ...]]:
    layer = "model.layers.0."
    square = (_WIDTH, _WIDTH)
    return {
        "lm_head.weight": (words, _WIDTH),
        "model.embed_tokens.weight": (words, _WIDTH),
        f"{layer}input_layernorm.weight": (_WIDTH,),
        f"{layer}mlp.down_proj.weight": square,
        f"{layer}mlp.gate_proj.weight": square,
        f"{layer}mlp.up_proj.weight": square,
        f"{layer}post_attention_layernorm.weight": (_WIDTH,),
        f"{layer}self_attn.k_proj.weight": (_WIDTH // 2, _WIDTH),
        f"{layer}self_attn.o_proj.weight": square,
        f"{layer}self_attn.q_proj.weight": square,
        f"{layer}self_attn.v_proj.weight": (_WIDTH // 2, _WIDTH),
        "model.norm.weight": (_WIDTH,),
    }


def _brain_floats(name: str, count: int) -> bytes:
    """Return BF16 numbers between 1/128 and 2 in magnitude: any sign and mantissa, few exponents."""
    raw = hashlib.shake_256(f"lftool fingerprint {name}".encode()).digest(2 * count)
    values = (word & 0x83FF | 0x3C00 for word in struct.unpack(f"<{count}H", raw))
    return struct.pack(f"<{count}H", *values)


def _safetensors(words: int) -> bytes:
    header, data = {}, b""
    for name, shape in _shapes(words).items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        numbers = _brain_floats(name, count)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def write_probe_files(folder: Path) -> dict[str, Path]:
    """Write the model into `folder`; return name to file."""
    words = len(_pieces())
    contents = {
        "README.md": _CARD.encode(),
        "config.json": json.dumps(_CONFIG | {"vocab_size": words}).encode(),
        "model.safetensors": _safetensors(words),
        "tokenizer.model": _sentencepiece(),
        "tokenizer_config.json": json.dumps(_TOKENIZER).encode(),
    }
    found = {}
    for name, data in contents.items():
        found[name] = folder / name
        found[name].write_bytes(data)
    return found
