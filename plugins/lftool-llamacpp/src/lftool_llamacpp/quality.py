"""How good quantised weights are, by what their model does: how well it predicts a text, or how far its vectors are off."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lftool.api import EmbeddingFigures, RecipeError
from lftool.api.gguf import model_kind, read_gguf
from lftool_llamacpp.engine import llama_cpp
from lftool_llamacpp.perplexity import load, machine, measure_perplexity, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.api import QualityFigures, QualityRequest
    from lftool.api.gguf import GGUFHeader

_CONTEXT = 512


def _header(request: QualityRequest) -> GGUFHeader:
    with request.reference.open("rb") as file:
        return read_gguf(file, request.reference.stat().st_size, "the unquantised weights")


def _measure_vectors(
    requests: Sequence[QualityRequest], header: GGUFHeader, progress: Callable[[str, int, int], None]
) -> list[EmbeddingFigures]:
    """Return the cosine between the vectors of weights and reference, for each line of the text that is not blank.

    Raises:
        RecipeError: The text is no UTF-8, or has no line.
        FormatError: llama.cpp cannot load the weights.
    """
    request = requests[0]
    lines = [line.strip() for line in text_of(request).splitlines() if line.strip()]
    if not lines:
        raise RecipeError(f"{request.text_name} has no line to embed")
    trained = header.metadata.get(f"{header.metadata.get('general.architecture')}.context_length")
    context = request.context or min(_CONTEXT, trained if type(trained) is int and trained > 1 else _CONTEXT)
    told: dict[str, Any] = {"embedding": True}
    if model_kind(header).pooling in {None, "none"}:
        told["pooling_type"] = llama_cpp.LLAMA_POOLING_TYPE_MEAN
    reference, *models = (
        load(path, context, request.threads, **told)
        for path in (request.reference, *(item.weights for item in requests))
    )
    cosines: list[list[float]] = [[] for _ in models]
    for index, line in enumerate(lines, 1):
        (expected,) = reference.embed([line], normalize=True)
        for own, found in zip(models, cosines, strict=True):
            (vector,) = own.embed([line], normalize=True)
            found.append(sum(x * y for x, y in zip(vector, expected, strict=True)))
        progress("", index, len(lines))
    return [
        EmbeddingFigures(
            texts=len(lines),
            cosine_mean=sum(found) / len(found),
            cosine_least=min(found),
            tool=f"llama-cpp-python {version('llama-cpp-python')}",
            machine=machine(),
        )
        for found in cosines
    ]


def measure(
    requests: Sequence[QualityRequest], progress: Callable[[str, int, int], None]
) -> list[QualityFigures] | list[EmbeddingFigures]:
    """Return the figures for what the model does; the requests differ in nothing but the weights.

    Raises:
        RecipeError: The text does not do, or the model ranks documents, which nothing here measures.
        FormatError: llama.cpp cannot load the weights, or they have another vocabulary than the reference.
    """
    header = _header(requests[0])
    does = model_kind(header).does
    if does == "ranks":
        raise RecipeError("the model ranks documents, and lftool cannot measure ranking quality")
    return _measure_vectors(requests, header, progress) if does == "embeds" else measure_perplexity(requests, progress)
