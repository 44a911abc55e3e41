"""What a tensor is for, by its name, and which tensors keep the type that they have.

Source: `tensor_get_category` and `tensor_allows_quantization` of llama.cpp's src/llama-quant.cpp, as in llama-cpp-python
0.3.36. Names count wherever they stand in a longer one: `ffn_down_shexp.weight` is a DOWN.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lftool.api.gguf import GGUFTensor

_SUFFIX = "weight"


class Part(Enum):
    """What a tensor is for, as far as its type depends on it."""

    OUTPUT = auto()
    EMBEDDING = auto()
    VALUE = auto()  # also where a matrix holds queries, keys and values
    KEY = auto()
    QUERY = auto()
    ATTENTION_OUTPUT = auto()
    UP = auto()
    GATE = auto()
    DOWN = auto()
    OTHER = auto()


EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
OUTPUT = "output.weight"

# In this order: the first that is found in a name decides.
_INSIDE = (
    ("attn_qkv.weight", Part.VALUE),
    ("attn_kv_b.weight", Part.VALUE),
    ("attn_v.weight", Part.VALUE),
    ("attn_k.weight", Part.KEY),
    ("attn_q.weight", Part.QUERY),
    ("attn_output.weight", Part.ATTENTION_OUTPUT),
    ("ffn_up", Part.UP),
    ("ffn_gate", Part.GATE),
    ("ffn_down", Part.DOWN),
)

# Tensors with one of these in their names are small, or suffer most: norms, routers, convolutions, mixing vectors of RWKV.
_KEPT = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
)
_KEPT_WHOLE = frozenset({"position_embd.weight", "token_types.weight"})
_KEPT_OF = {
    "glm5-next": (
        "hc_",
        "indexer.attn_q_b",
        "indexer.attn_k",
        "indexer.proj",
        "indexer_compressor_gate",
        "indexer_compressor_ape",
        "ssm_f_a.weight",
        "ssm_f_b.weight",
        "ssm_g_a.weight",
        "ssm_g_b.weight",
        "ssm_beta.weight",
        "attn_kv_a_mqa.weight",
        "attn_k_b.weight",
        "attn_v_b.weight",
    )
}


def part_of(name: str) -> Part:
    """Return what a tensor is for."""
    if name == OUTPUT:
        return Part.OUTPUT
    if name in EMBEDDINGS:
        return Part.EMBEDDING
    return next((part for text, part in _INSIDE if text in name), Part.OTHER)


def is_matrix(tensor: GGUFTensor) -> bool:
    """Return whether a tensor has two or more dimensions; ones at the end do not count."""
    return any(length > 1 for length in tensor.dimensions[1:])


def keeps_type(name: str, architecture: str) -> bool:
    """Return whether a matrix keeps its type whatever the file type."""
    # llama.cpp looks for the suffix at length - 6. With a name of five letters that is -1, which also says "not found".
    if not name.endswith(_SUFFIX) and len(name) != len(_SUFFIX) - 1:
        return True
    if name in _KEPT_WHOLE or any(text in name for text in _KEPT):
        return True
    return any(text in name for text in _KEPT_OF.get(architecture, ()))
