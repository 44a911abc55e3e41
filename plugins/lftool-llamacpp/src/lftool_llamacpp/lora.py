"""What PEFT's configuration of an adapter means for a GGUF, which has one number for the scale of all that it changes.

llama.cpp applies alpha divided by the rank of each matrix (src/llama-adapter.h). PEFT 0.21 applies `lora_alpha / r`, or with
`use_rslora` `lora_alpha / sqrt(r)`, and lets patterns of module names change both (peft/tuners/lora/layer.py,
peft/utils/other.py: get_pattern_key).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from lftool.api import FormatError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lftool.api.gguf import SafetensorsTensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_A = re.compile(r"\.lora_(embedding_)?A(\.weight)?\Z")
_FACTOR = re.compile(r"\.lora_(embedding_)?[AB](\.weight)?\Z")
_HINTS = ("merge the adapter into its model (PEFT's merge_and_unload), and start from that",)


def _of_module(patterns: Any, module: str, otherwise: Any) -> Any:  # noqa: ANN401 - JSON
    """Return what a pattern says of a module, as PEFT looks it up: the first that ends its name."""
    if not isinstance(patterns, dict):
        return otherwise
    for key, value in patterns.items():
        try:
            if re.match(rf"(.*\.)?({key})$", module):
                return value
        except re.error as error:
            raise FormatError(f"{CONFIG}: {key!r} is not a valid pattern: {error}") from None
    return otherwise


def _number(value: Any, key: str) -> float:  # noqa: ANN401 - JSON
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise FormatError(f"{CONFIG}: {key} must be a number above zero, not {value!r}")
    return float(value)


def _rank(tensor: SafetensorsTensor) -> int:
    """Return the rank of a first factor: its rows."""
    if len(tensor.shape) != 2 or not tensor.shape[0]:  # noqa: PLR2004 - a matrix
        raise FormatError(f"{WEIGHTS}: {tensor.name} has shape {list(tensor.shape)}, expected a matrix")
    return tensor.shape[0]


def _check_keys(config: Any) -> None:  # noqa: ANN401 - JSON
    if not isinstance(config, dict):
        raise FormatError(f"{CONFIG} is not a JSON object")
    for key in ("use_dora", "use_qalora", "lora_bias"):
        if config.get(key):
            raise RecipeError(f"{CONFIG}: {key} is set, but GGUF adapters cannot store it", hints=_HINTS)
    if config.get("bias", "none") != "none":
        raise RecipeError(f"{CONFIG}: bias is {config['bias']!r}, but GGUF adapters cannot store biases", hints=_HINTS)


def _alpha_of_module(config: Any, tensor: SafetensorsTensor, module: str) -> float:  # noqa: ANN401 - JSON
    rank = _rank(tensor)
    alpha = _number(_of_module(config.get("alpha_pattern"), module, config.get("lora_alpha")), "lora_alpha")
    said = _of_module(config.get("rank_pattern"), module, config.get("r"))
    if said is not None and _number(said, "r") != rank:
        raise FormatError(f"{CONFIG}: {module} has rank {said}, and {tensor.name} has {rank} rows")
    return alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


def alpha_of(config: Any, tensors: Iterable[SafetensorsTensor]) -> float:  # noqa: ANN401 - JSON
    """Return the alpha that gives a GGUF the scale that PEFT applies.

    Args:
        config: The adapter's configuration.
        tensors: What its safetensors file holds.

    Raises:
        FormatError: The configuration is damaged.
        RecipeError: The adapter has what a GGUF has no place for; the message names the key or the tensor.
    """
    _check_keys(config)
    found: dict[float, str] = {}
    for tensor in tensors:
        name = tensor.name
        if ".base_layer." in name:
            continue
        if not _FACTOR.search(name):
            raise RecipeError(
                f"{WEIGHTS}: {name} is not a low-rank factor (modules_to_save?), so llama.cpp would drop it",
                hints=_HINTS,
            )
        if _A.search(name):
            module = _A.sub("", name).removeprefix(_PREFIX)
            found.setdefault(_alpha_of_module(config, tensor, module), module)
    if not found:
        raise RecipeError(f"{WEIGHTS} holds no low-rank factors")
    if len(found) > 1:
        (one, first), (other, second) = sorted(found.items())[:2]
        keys = "use_rslora with rank_pattern" if config.get("use_rslora") else "alpha_pattern"
        raise RecipeError(
            f"{CONFIG}: {keys} gives {first} alpha {one:g} and {second} {other:g}, but a GGUF has one alpha",
            hints=_HINTS,
        )
    return next(iter(found))
