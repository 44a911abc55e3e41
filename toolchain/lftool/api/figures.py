"""What a backend is asked to measure, and what it found."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class QualityRequest:
    """Weights to compare with the unquantised ones, on a text.

    Attributes:
        weights: A GGUF.
        reference: The unquantised GGUF.
        text: UTF-8.
        text_name: What messages call it.
        context: Tokens that are evaluated together; None for 512, or what the model was trained with, if less.
        threads: How many threads to use.
    """

    weights: Path
    reference: Path
    text: Path
    text_name: str
    context: int | None
    threads: int


@frozen(kw_only=True)
class EmbeddingFigures:
    """What was measured of a model that makes vectors; floats differ between processors in their last digits.

    Attributes:
        texts: How many lines of the text became vectors.
        cosine_mean: Mean of the cosine between the vectors of weights and reference, -1 to 1.
        cosine_least: The least.
        tool: What measured, and its version.
        machine: What it ran on, and with which instructions.
    """

    texts: int
    cosine_mean: float
    cosine_least: float
    tool: str
    machine: str


@frozen(kw_only=True)
class QualityFigures:
    """What was measured of a model that generates text; floats differ between processors in their last digits.

    Attributes:
        context: Tokens that were evaluated together.
        tokens: How many tokens were predicted.
        perplexity: exp of the mean negative log-likelihood of those tokens.
        reference_perplexity: The same of the unquantised weights.
        kl_divergence: Mean of KL(reference || weights) over the predictions, in nats.
        kl_divergence_max: The largest.
        same_top: The part of the predictions whose likeliest token is the same, 0 to 1.
        tool: What measured, and its version.
        machine: What it ran on, and with which instructions.
    """

    context: int
    tokens: int
    perplexity: float
    reference_perplexity: float
    kl_divergence: float
    kl_divergence_max: float
    same_top: float
    tool: str
    machine: str

    @property
    def increase(self) -> float:
        """How much perplexity rose over the unquantised weights, as a fraction."""
        return self.perplexity / self.reference_perplexity - 1


Figures = QualityFigures | EmbeddingFigures
