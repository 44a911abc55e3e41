"""Perplexity and KL divergence of weights against their unquantised form, as llama.cpp's tools/perplexity computes them.

The text becomes tokens of the model's own vocabulary, cut into chunks of one context; each chunk begins with the
beginning-of-sequence token where the vocabulary has it. Of every chunk, the second half is predicted: there a token has
at least half a context before it. Logits are float32; sums are float64.
"""

from __future__ import annotations

import math
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np  # noqa: TID253 - as above
from attrs import define

from lftool.api import FormatError, QualityFigures, RecipeError
from lftool.api.gguf import read_gguf
from lftool_llamacpp.engine import llama_cpp
from lftool_llamacpp.engine_log import EngineLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.api import QualityRequest

_CONTEXT = 512


def load(path: Path, context: int, threads: int, **options: Any) -> llama_cpp.Llama:  # noqa: ANN401 - llama-cpp-python's
    """Return a model that takes `context` tokens in one batch.

    Raises:
        FormatError: llama.cpp cannot load it.
    """
    with EngineLog() as log:
        try:
            return llama_cpp.Llama(
                model_path=str(path),
                n_ctx=context,
                n_batch=context,
                n_ubatch=context,
                n_threads=threads,
                n_threads_batch=threads,
                verbose=False,
                **options,
            )
        except (ValueError, AssertionError):
            raise FormatError(f"llama.cpp cannot load the weights: {log.reason()}") from None


def _trained_context(path: Path) -> int:
    with path.open("rb") as file:
        metadata = read_gguf(file, path.stat().st_size, "the unquantised weights").metadata
    trained = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    return trained if type(trained) is int and trained > 1 else _CONTEXT


def _log_probabilities(model: llama_cpp.Llama, tokens: list[int], first: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return log-probabilities of all tokens after each position from `first` to the last but one."""
    model.reset()
    model.eval(tokens)
    logits = np.array(model.scores[first : len(tokens) - 1], dtype=np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def machine() -> str:
    """Return processor and instructions: what the last digits depend on."""
    try:
        names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    used = re.findall(r"(\w+) = 1", llama_cpp.llama_print_system_info().decode())
    name = names[0] if names else platform.processor()
    return f"{platform.system()} {platform.machine()}, {name or 'unknown processor'}; {' '.join(used)}"


def text_of(request: QualityRequest) -> str:
    """Return the text of a request.

    Raises:
        RecipeError: It is no UTF-8.
    """
    try:
        return request.text.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise RecipeError(f"{request.text_name} is not valid UTF-8: {error}") from None


@define
class _Sums:
    """What is added up over all predictions."""

    tokens: int = 0
    own: float = 0.0
    reference: float = 0.0
    divergence: float = 0.0
    divergence_max: float = 0.0
    same: int = 0

    def add(self, own: np.ndarray[Any, Any], reference: np.ndarray[Any, Any], expected: list[int]) -> None:
        rows = np.arange(len(expected))
        self.tokens += len(expected)
        self.own -= float(own[rows, expected].sum())
        self.reference -= float(reference[rows, expected].sum())
        divergences = (np.exp(reference) * (reference - own)).sum(axis=1)
        self.divergence += float(divergences.sum())
        self.divergence_max = max(self.divergence_max, float(divergences.max()))
        self.same += int((own.argmax(axis=1) == reference.argmax(axis=1)).sum())


def measure_perplexity(
    requests: Sequence[QualityRequest], progress: Callable[[str, int, int], None]
) -> list[QualityFigures]:
    """Return the figures of several weights, which are compared with the same reference on the same text.

    Raises:
        RecipeError: The text is no UTF-8, or shorter than one context.
        FormatError: llama.cpp cannot load the weights, or they have another vocabulary than the reference.
    """
    request = requests[0]
    context = request.context or min(_CONTEXT, _trained_context(request.reference))
    text = text_of(request)
    reference, *models = (
        load(path, context, request.threads, logits_all=True)
        for path in (request.reference, *(item.weights for item in requests))
    )
    tokens = reference.tokenize(text.encode(), add_bos=True, special=False)
    for own in models:
        if tokens != own.tokenize(text.encode(), add_bos=True, special=False) or own.n_vocab() != reference.n_vocab():
            raise FormatError("the weights and the unquantised weights have different vocabularies")
    chunks, first = len(tokens) // context, context // 2
    if not chunks:
        raise RecipeError(
            f"{request.text_name} has {len(tokens)} tokens, expected at least one context of {context}",
            hints=("give a longer text, or a smaller context",),
        )
    all_sums, begins = [_Sums() for _ in models], tokens[0] == reference.token_bos()
    for index in range(chunks):
        chunk = tokens[index * context : (index + 1) * context]
        if begins:
            chunk[0] = reference.token_bos()
        expected = _log_probabilities(reference, chunk, first)
        for own, sums in zip(models, all_sums, strict=True):
            sums.add(_log_probabilities(own, chunk, first), expected, chunk[first + 1 :])
        progress("", index + 1, chunks)
    return [
        QualityFigures(
            context=context,
            tokens=sums.tokens,
            perplexity=math.exp(sums.own / sums.tokens),
            reference_perplexity=math.exp(sums.reference / sums.tokens),
            kl_divergence=sums.divergence / sums.tokens,
            kl_divergence_max=sums.divergence_max,
            same_top=sums.same / sums.tokens,
            tool=f"llama-cpp-python {version('llama-cpp-python')}",
            machine=machine(),
        )
        for sums in all_sums
    ]
