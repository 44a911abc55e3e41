"""Small random GGUFs of every architecture that llama.cpp knows: its tensor names, its keys, shapes that come out odd."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftool.api.gguf import TensorData, write_gguf

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = json.loads((Path(__file__).parent / "architectures.json").read_text())
ARCHITECTURES = tuple(sorted(TABLE["keys"]))

# Parts whose types depend on more than the file type; the others come by lot.
_ALWAYS = (
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_qkv",
    "attn_kv_b",
    "attn_output",
    "attn_q_a",
    "ffn_up",
    "ffn_gate",
    "ffn_down",
    "ffn_down_exps",
    "ffn_up_exps",
    "ffn_gate_exps",
    "ffn_down_shexp",
    "ffn_gate_inp",
)
_NAMES = sorted(set(TABLE["tensors"]))  # the table has some of them twice
_LAYERED = [name for name in _NAMES if name.startswith("blk.%d.") and name.count("%d") == 1]
_SINGLE = [name for name in _NAMES if "%d" not in name]
_FIXED_LAYERS = {"hrm_text": 4, "clip": 4}
# Numbers that these architectures read in their own ways; models of so many layers are those that llama.cpp calls 70B.
_OWN: dict[str, dict[str, Any]] = {"nanbeige": {"num_loops": 2}, "qwen2": {"nextn_predict_layers": 1}}
_LARGE = {"llama": 80, "llama-embed": 80, "qwen2": 81, "deci": 80, "olmo": 80, "jais2": 68}
_COLUMNS = (256, 256, 256, 512, 64, 128, 32, 96, 40, 288)


def metadata_of(architecture: str, layers: int, chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a model."""
    found: dict[str, Any] = {"general.architecture": architecture}
    for key, value in TABLE["keys"][architecture].items():
        several = [value["each"]] * layers if isinstance(value, dict) else value
        found[key.replace("{arch}", architecture)] = tuple(several) if isinstance(several, list) else several
    if architecture != "clip":
        found |= {f"{architecture}.{key}": value for key, value in chosen.items()}
        found[f"{architecture}.block_count"] = layers
    return found


def _tensor(name: str, dice: random.Random, *, experts: bool = False) -> TensorData:
    columns, rows = dice.choice(_COLUMNS), dice.choice((1, 2, 2, 2, 2))
    dimensions: tuple[int, ...] = (columns, rows) if dice.random() < 0.95 else (columns,)
    if experts:
        dimensions = (columns, rows, dice.choice((1, 3)))
    size = 4
    for length in dimensions:
        size *= length
    return TensorData(name=name, type="F32", dimensions=dimensions, data=bytes(size))


def _tensors(architecture: str, layers: int, dice: random.Random) -> Sequence[TensorData]:
    others = [name for name in _LAYERED if name.removeprefix("blk.%d.") not in _ALWAYS]
    patterns = [f"blk.%d.{name}" for name in _ALWAYS if dice.random() < 0.9] + dice.sample(others, 6)
    if architecture == "clip":  # a projector has no number of heads that these ask for
        patterns = [name for name in patterns if not name.endswith(("attn_v", "attn_qkv", "attn_kv_b"))]
    made = [
        _tensor(f"{pattern % layer}.weight", dice, experts=pattern.endswith("_exps"))
        for layer in range(layers)
        for pattern in patterns
        if dice.random() < 0.95
    ]
    for name in ("token_embd", *dice.sample(_SINGLE, 8)):
        if name not in {"output", *(tensor.name.removesuffix(".weight") for tensor in made)}:
            made.append(_tensor(f"{name}.weight", dice))
    if dice.random() < 0.5:
        made.append(_tensor("output.weight", dice))
    made += [_tensor("blk.0.attn_q.bias", dice), _tensor("short", dice)]
    dice.shuffle(made)
    return made


def write_random_model(path: Path, architecture: str, seed: int) -> None:
    """Write a model of an architecture; the same seed gives the same bytes."""
    dice = random.Random(f"{architecture} {seed}")
    layers = _FIXED_LAYERS.get(architecture) or dice.choice((1, 3, 8, 17, 26, 33))
    if architecture in _LARGE and dice.random() < 0.5:
        layers = _LARGE[architecture]
    heads = dice.choice((1, 4, 8))
    chosen: dict[str, Any] = {
        "attention.head_count": heads,
        "attention.head_count_kv": dice.choice((1, heads)) if dice.random() < 0.8 else tuple([1] * layers),
    }
    if dice.random() < 0.5:
        chosen |= _OWN.get(architecture, {})
    experts = dice.choice((0, 0, 0, 2, 4, 8, 16))
    if experts:
        chosen |= {"expert_count": experts, "expert_used_count": 2}
    with path.open("wb") as file:
        write_gguf(file, metadata_of(architecture, layers, chosen), _tensors(architecture, layers, dice))
