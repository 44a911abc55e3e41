"""Whether what will run a model can do what the run contract says."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from lftool.bundle.model_size import head_widths
from lftool.errors import RecipeError
from lftool.formats.ggml_types import GGML_TYPES
from lftool.formats.gguf_arrays import text_array
from lftool.pipeline.model.weights import weights_file, weights_header

if TYPE_CHECKING:
    from lftool.api import RuntimeType
    from lftool.models.digest import Artifact
    from lftool.models.run_contract import RunContract
    from lftool.pipeline.ports import Ports

_TOKENS = "tokenizer.ggml.tokens"
_TEMPLATE = "tokenizer.chat_template"
_VARIABLE = "enable_thinking"


def check_runtime(run: RunContract, runtime: RuntimeType, target: str) -> None:
    """Raise RecipeError if a runtime does not apply a key that the recipe sets."""
    beyond = [key for key in run.said if key not in runtime.applies]
    if beyond:
        raise RecipeError(
            f"targets.{target}: the runtime {runtime.semantics} does not apply [run] {', '.join(beyond)}",
            hints=("remove it from the recipe", "or give the target another runtime, or the layout gguf"),
        )


def check_cache_type(run: RunContract, weights: Artifact, ports: Ports) -> None:
    """Raise RecipeError unless the heads of the weights are whole blocks of the KV cache's type.

    Source: llama_init_from_model in llama.cpp's llama-context.cpp.
    """
    if run.cache_type is None:
        return
    kind = GGML_TYPES[run.cache_type.upper()]
    for name, width in zip(("keys", "values"), head_widths(weights_header(weights, "the weights", ports)), strict=True):
        if width % kind.block_elements:
            raise RecipeError(
                f"run.cache_type: {run.cache_type} has blocks of {kind.block_elements} elements, and the {name} of this model"
                f" have {width} a head",
                hints=('one that fits every model: "f16", "bf16" or "f32"',),
            )


def check_stop_tokens(run: RunContract, weights: Artifact, ports: Ports) -> None:
    """Raise RecipeError unless every stop token is in the vocabulary of the weights."""
    if not run.stop_tokens:
        return
    header = weights_header(weights, "the weights", ports)
    with weights_file(weights, "the weights", ports).open("rb") as file:
        found = text_array(file, header.metadata.get(_TOKENS))
    if found is None:
        raise RecipeError("run.stop_tokens: the weights have no list of tokens")
    known = set(found)
    for text in run.stop_tokens:
        if text.encode() not in known:
            texts = (token.decode(errors="replace") for token in found)
            near = difflib.get_close_matches(text, (item for item in texts if item[:1] == text[:1]), 3, 0.5)
            hints = (f"it has {', '.join(map(repr, near))}",) if near else ()
            raise RecipeError(f"run.stop_tokens: the vocabulary has no token {text!r}", hints=hints)


def reasoning_notice(run: RunContract, weights: Artifact, template: str | None, ports: Ports) -> str | None:
    """Return what is to be said if the chat template cannot do what `reasoning` says; None otherwise.

    Args:
        run: The run contract.
        weights: The weights.
        template: The recipe's chat template; None for the weights' own.
        ports: The store.
    """
    if run.reasoning is None:
        return None
    own = weights_header(weights, "the weights", ports).metadata.get(_TEMPLATE) if template is None else template
    if isinstance(own, str) and _VARIABLE in own:
        return None
    return f"run.reasoning: the chat template does not read {_VARIABLE}, so it changes nothing with most engines"
