"""Fixed small files, a Llama, an adapter of it and a projector: what converters make of them are their fingerprints.

Every byte is determined here. A change of this file is a change of all fingerprints.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_WIDTH, _RANK, _PATCH = 64, 4, 8
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


def safetensors_of(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Return a safetensors file of BF16 tensors whose numbers follow from their names."""
    header, data = {}, b""
    for name, shape in shapes.items():
        count = math.prod(shape)
        numbers = _brain_floats(name, count)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def _byte_level() -> dict[int, str]:
    """Return the character that byte-level BPE writes for each byte (GPT-2's `bytes_to_unicode`)."""
    plain = {byte for byte in range(256) if chr(byte).isprintable() and not chr(byte).isspace() and byte != 0xAD}  # noqa: PLR2004
    others = iter(range(256, 512))
    return {byte: chr(byte) if byte in plain else chr(next(others)) for byte in range(256)}


def _byte_pairs() -> tuple[dict[str, int], bytes]:
    """Return the words of a byte-level BPE that splits digits, and its `tokenizer.json`."""
    letters = list(_byte_level().values())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("1", "2"), ("Ġ", "a"), ("Ġ", "Ġ")]
    words = {word: index for index, word in enumerate([*letters, *("".join(pair) for pair in merges)])}
    special = {"id": len(words), "content": "<|endoftext|>", "special": True}
    special |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokenizer = {
        "version": "1.0",
        "added_tokens": [special],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": words, "merges": [" ".join(pair) for pair in merges]},
    }
    return words, json.dumps(tokenizer).encode()


def _byte_pair_model(
    config: Mapping[str, object], tokenizer_class: str, shapes: Callable[[int], dict[str, tuple[int, ...]]]
) -> dict[str, bytes]:
    words, tokenizer = _byte_pairs()
    count = len(words) + 1
    said = {
        "tokenizer_class": tokenizer_class,
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    ends = {"bos_token_id": count - 1, "eos_token_id": count - 1}
    return {
        "README.md": _CARD.encode(),
        "config.json": json.dumps({**config, **ends, "vocab_size": count}).encode(),
        "model.safetensors": safetensors_of(shapes(count)),
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": json.dumps(said).encode(),
    }


def _qwen2_shapes(words: int) -> dict[str, tuple[int, ...]]:
    layer = "model.layers.0.self_attn."
    biases = {f"{layer}{name}.bias": (size,) for name, size in (("q_proj", 64), ("k_proj", 32), ("v_proj", 32))}
    return _shapes(words) | biases


def _neox_shapes(words: int) -> dict[str, tuple[int, ...]]:
    layer, square = "gpt_neox.layers.0.", (_WIDTH, _WIDTH)
    matrices = {
        "attention.query_key_value": (3 * _WIDTH, _WIDTH),
        "attention.dense": square,
        "mlp.dense_h_to_4h": square,
        "mlp.dense_4h_to_h": square,
    }
    found: dict[str, tuple[int, ...]] = {
        "gpt_neox.embed_in.weight": (words, _WIDTH),
        "embed_out.weight": (words, _WIDTH),
    }
    for name, shape in matrices.items():
        found |= {f"{layer}{name}.weight": shape, f"{layer}{name}.bias": shape[:1]}
    for name in (f"{layer}input_layernorm", f"{layer}post_attention_layernorm", "gpt_neox.final_layer_norm"):
        found |= {f"{name}.weight": (_WIDTH,), f"{name}.bias": (_WIDTH,)}
    return found


_QWEN2 = _CONFIG | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
_NEOX = {
    "architectures": ["GPTNeoXForCausalLM"],
    "model_type": "gpt_neox",
    "hidden_size": _WIDTH,
    "intermediate_size": _WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-05,
    "rotary_pct": 0.25,
    "use_parallel_residual": True,
}


def write_probe_files(folder: Path) -> dict[str, Path]:
    """Write models into `folder`; return name to file.

    Names are `/MODEL/FILE`, which no file of a source is called: a Llama with a SentencePiece tokenizer, a Qwen2 and a NeoX with
    byte-level BPE that splits digits. They differ in what libraries have changed between versions: the pre-tokenizer of a
    `tokenizer.json` that is not the class's own, and where a configuration keeps its rotary settings.
    """
    words = len(_pieces())
    llama = {
        "README.md": _CARD.encode(),
        "config.json": json.dumps(_CONFIG | {"vocab_size": words}).encode(),
        "model.safetensors": safetensors_of(_shapes(words)),
        "tokenizer.model": _sentencepiece(),
        "tokenizer_config.json": json.dumps(_TOKENIZER).encode(),
    }
    models = {
        "llama": llama,
        "qwen2": _byte_pair_model(_QWEN2, "Qwen2Tokenizer", _qwen2_shapes),
        "neox": _byte_pair_model(_NEOX, "GPTNeoXTokenizer", _neox_shapes),
    }
    contents = {f"{model}/{name}": data for model, files in models.items() for name, data in files.items()}
    return {f"/{name}": path for name, path in write_files(folder, contents).items()}


def write_adapter_files(folder: Path) -> dict[str, Path]:
    """Write an adapter of the model as PEFT does, and the model's configuration; return name to file."""
    config = {"peft_type": "LORA", "r": _RANK, "lora_alpha": 2 * _RANK, "target_modules": ["q_proj", "down_proj"]}
    shapes: dict[str, tuple[int, ...]] = {}
    for module in ("self_attn.q_proj", "mlp.down_proj"):
        prefix = f"base_model.model.model.layers.0.{module}"
        shapes |= {f"{prefix}.lora_A.weight": (_RANK, _WIDTH), f"{prefix}.lora_B.weight": (_WIDTH, _RANK)}
    contents = {
        "adapter/README.md": _CARD.encode(),
        "adapter/adapter_config.json": json.dumps(config).encode(),
        "adapter/adapter_model.safetensors": safetensors_of(shapes),
        "base/config.json": json.dumps(_CONFIG | {"vocab_size": len(_pieces())}).encode(),
    }
    return write_files(folder, contents)


def write_projector_files(folder: Path) -> dict[str, Path]:
    """Write the parts of a small Idefics3 that its projector is made of; return name to file."""
    vision = {
        "model_type": "idefics3_vision",
        "hidden_size": _WIDTH,
        "intermediate_size": _WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "image_size": 4 * _PATCH,
        "patch_size": _PATCH,
    }
    text = {key: value for key, value in _CONFIG.items() if key != "architectures"} | {"vocab_size": len(_pieces())}
    config = {
        "architectures": ["Idefics3ForConditionalGeneration"],
        "model_type": "idefics3",
        "scale_factor": 2,
        "vision_config": vision,
        "text_config": text,
    }
    processor = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": {"longest_edge": 4 * _PATCH}}
    contents = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors_of(_vision_shapes()),
        "preprocessor_config.json": json.dumps(processor).encode(),
    }
    return write_files(folder, contents)


def _vision_shapes() -> dict[str, tuple[int, ...]]:
    encoder, square = "model.vision_model.encoder.layers.0.", (_WIDTH, _WIDTH)
    shapes: dict[str, tuple[int, ...]] = {
        "model.connector.modality_projection.proj.weight": (_WIDTH, 4 * _WIDTH),
        "model.vision_model.embeddings.patch_embedding.weight": (_WIDTH, 3, _PATCH, _PATCH),
        "model.vision_model.embeddings.patch_embedding.bias": (_WIDTH,),
        "model.vision_model.embeddings.position_embedding.weight": (16, _WIDTH),
        "model.vision_model.post_layernorm.weight": (_WIDTH,),
        "model.vision_model.post_layernorm.bias": (_WIDTH,),
    }
    for name in (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
        "mlp.fc1",
        "mlp.fc2",
    ):
        shapes |= {f"{encoder}{name}.weight": square, f"{encoder}{name}.bias": (_WIDTH,)}
    for name in ("layer_norm1", "layer_norm2"):
        shapes |= {f"{encoder}{name}.weight": (_WIDTH,), f"{encoder}{name}.bias": (_WIDTH,)}
    return shapes


def write_files(folder: Path, contents: Mapping[str, bytes]) -> dict[str, Path]:
    """Write files, by their paths within `folder`; return path to file."""
    found = {}
    for name, data in contents.items():
        found[name] = folder / name
        found[name].parent.mkdir(exist_ok=True)
        found[name].write_bytes(data)
    return found
