"""Whether what will run a model can do what the run contract says."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from lftool.bundle.model_size import head_widths
from lftool.errors import RecipeError
from lftool.formats.ggml_types import GGML_TYPES
from lftool.formats.gguf_arrays import text_array
from lftool.models.gbnf import check_gbnf
from lftool.pipeline.model.weights import weights_file, weights_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.api import RuntimeType
    from lftool.api.gguf import GGUFHeader
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


def check_tokens(run: RunContract, weights: Artifact, ports: Ports) -> None:
    """Raise RecipeError unless every stop token, and every token of the grammar, is in the vocabulary of the weights."""
    named = () if run.grammar is None else check_gbnf(run.grammar)
    if not run.stop_tokens and not named:
        return
    header = weights_header(weights, "the weights", ports)
    with weights_file(weights, "the weights", ports).open("rb") as file:
        found = text_array(file, header.metadata.get(_TOKENS))
    if found is None:
        raise RecipeError(f"run.{'stop_tokens' if run.stop_tokens else 'grammar'}: the weights have no list of tokens")
    known = set(found)
    _check_named(named, header, found)
    for text in run.stop_tokens:
        if text.encode() not in known:
            hints = (f"it has {', '.join(map(repr, near))}",) if (near := _near(text, found)) else ()
            raise RecipeError(f"run.stop_tokens: the vocabulary has no token {text!r}", hints=hints)


def _near(text: str, tokens: Sequence[bytes]) -> list[str]:
    """Return tokens that may be meant; vocabularies write a space as `▁` or `Ġ`, and a byte as `<0x0A>`."""
    plain = text.strip(" ")
    spelt = {f"▁{plain}", f"Ġ{plain}", plain, *(f"<0x{ord(item):02X}>" for item in text if item in "\t\n\r")} - {""}
    texts = [token.decode(errors="replace") for token in tokens]
    exact = [token for token in texts if token in spelt]
    return exact or difflib.get_close_matches(text, (item for item in texts if item[:1] == text[:1]), 3, 0.5)


def _check_named(named: tuple[str, ...], header: GGUFHeader, tokens: Sequence[bytes]) -> None:
    """Raise RecipeError unless every token that a grammar names is in the vocabulary, and none ends an answer."""
    ends = {header.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")}
    numbers = {text: number for number, text in enumerate(tokens)}
    for token in named:
        number = int(token[2:-2]) if token.startswith("<[") else numbers.get(token.encode(), len(tokens))
        if number >= len(tokens):
            raise RecipeError(f"run.grammar: the vocabulary has no token {token}")
        if number in ends:
            raise RecipeError(f"run.grammar: the token {token} ends an answer; a grammar's end is where it may come")


def reads_thinking(weights: Artifact, template: str | None, ports: Ports) -> bool:
    """Tell whether the chat template reads what `reasoning` sets.

    Args:
        weights: The weights.
        template: The recipe's chat template; None for the weights' own.
        ports: The store.
    """
    own = weights_header(weights, "the weights", ports).metadata.get(_TEMPLATE) if template is None else template
    return isinstance(own, str) and _VARIABLE in own
