"""What the mixture asks of a model: its architecture and four numbers, from the metadata of its GGUF.

Source: `load_hparams` of llama.cpp's src/llama-model.cpp and src/models/, as in llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO

from attrs import frozen

from lftool.api import FormatError, RecipeError
from lftool.api.gguf import GGUFArray
from lftool_strict.mixture import MIXTURE

if TYPE_CHECKING:
    from lftool.api.gguf import GGUFHeader

# Architectures whose largest model llama.cpp calls 70B: number of layers that it tells it by.
_LARGE = {"llama": 80, "llama-embed": 80, "qwen2": 80, "deci": 80, "olmo": 80, "jais2": 68}
_LARGE_WITH_SHARED_HEADS = frozenset({"llama", "llama-embed"})

# `LLM_ARCH_NAMES` of src/llama-arch.cpp.
ARCHITECTURES = frozenset(
    """
    afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bert bitnet bloom chameleon chatglm
    clip codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4
    dflash dots1 dots3note dream eagle3 ernie4_5 ernie4_5-moe eurobert exaone exaone-moe exaone4 falcon falcon-h1 gemma
    gemma-embedding gemma2 gemma3 gemma3n gemma4 gemma4-assistant glm-dsa glm4 glm4moe glm5-next gpt-oss gpt2
    gptneox granite granite_swa granitehybrid granitemoe graniteswitch grok grovemoe hrm_text hunyuan-dense hunyuan-moe
    hunyuan_vl hy_v3 hy_v4 internlm2 jais jais2 jamba jina-bert-v2 jina-bert-v3 kimi-k3 kimi-linear laguna lfm2 lfm2moe
    llada llada-moe llama llama-embed llama4 maincoder mamba mamba2 maple mellum mimo2 minicpm minicpm3 minimax-01
    minimax-m2 minimax-m3 mistral3 mistral4 modern-bert mpt muse-glimmer nanbeige nemotron nemotron_h nemotron_h_moe
    neo-bert nomic-bert nomic-bert-moe olmo olmo2 olmoe openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo
    plamo2 plamo3 plm pockettts qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3tts qwen3vl
    qwen3vlmoe qwen4exp refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3 spark2_5 stablelm starcoder
    starcoder2 step35 t5 t5encoder talkie wavtokenizer-dec xverse
    """.split()  # noqa: SIM905 - a list literal has a line for each
)


@frozen(kw_only=True)
class Model:
    """A model, as far as the types of its tensors depend on it.

    Attributes:
        architecture: `general.architecture`.
        layers: Number of layers, those that predict further tokens included.
        experts: Number of experts; 0 without any.
        sharing: How many query heads share one key-value head in the first layer; 0 without attention there.
        large: Whether llama.cpp calls it a 70B.
    """

    architecture: str
    layers: int
    experts: int = 0
    sharing: int = 0
    large: bool = False


_INTEGERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 10: "<Q", 11: "<q"}  # GGUF's numbers of types


@frozen
class _Numbers:
    """Whole numbers in the metadata; where a key has one for each layer, that of the first."""

    file: BinaryIO
    metadata: Mapping[str, object]

    def get(self, key: str, default: int | None = None) -> int:
        value = self.metadata.get(key)
        if isinstance(value, GGUFArray) and value.count and value.element_type in _INTEGERS:
            form = _INTEGERS[value.element_type]
            self.file.seek(value.start)
            (found,) = struct.unpack(form, self.file.read(struct.calcsize(form)))
            return int(found)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise FormatError(
                f"the weights have no {key}" if value is None else f"{key} of the weights is not a whole number"
            )
        return value


def model_of(file: BinaryIO, header: GGUFHeader) -> Model:
    """Return what the mixture asks of the model in a GGUF.

    Args:
        file: The GGUF, open.
        header: Its header.

    Raises:
        RecipeError: The rules do not know its architecture.
        FormatError: A number that they need is missing.
    """
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise RecipeError(
            f"{MIXTURE} does not know the architecture {architecture!r} of the weights, so it cannot choose types",
            hints=(
                'have llama.cpp choose and quantise: quantizer = "llama.cpp" in the target',
                "or pack the weights as they are: leave out `quantize`",
            ),
        )
    if architecture == "clip":  # a projector: llama.cpp reads no number of it
        return Model(architecture=architecture, layers=0)
    numbers = _Numbers(file, header.metadata)
    layers = numbers.get(f"{architecture}.block_count")
    regular = layers - numbers.get(f"{architecture}.nextn_predict_layers", 0)
    heads = numbers.get(f"{architecture}.attention.head_count", 0)
    shared = numbers.get(f"{architecture}.attention.head_count_kv", heads)
    experts = numbers.get(f"{architecture}.expert_count", 0)
    large = regular == _LARGE.get(architecture)
    if architecture in _LARGE_WITH_SHARED_HEADS:
        large = large and heads != shared and experts != 8  # noqa: PLR2004 - those are named after their experts
    loops = numbers.get("nanbeige.num_loops", 1) if architecture == "nanbeige" else 1
    if loops > 1:  # its layers run several times
        layers = regular * loops
    elif architecture == "graniteswitch":  # llama.cpp appends one that routes
        layers = regular + 1
    return Model(
        architecture=architecture,
        layers=layers,
        experts=experts,
        sharing=heads // shared if shared else 0,
        large=large,
    )
