"""What a backend measures, and what it found."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class QualityRequest:
    """Weights to compare with the unquantised ones, on a text.

    Attributes:
        weights: A GGUF.
        reference: The unquantised GGUF.
        text: The text, in UTF-8.
        text_name: Name of the text in messages.
        context: Tokens that are evaluated together; None for 512, or the model's training context if that is less.
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
    """Measurements of a model that makes vectors. The last digits of floats differ between processors.

    Attributes:
        texts: How many lines of the text became vectors.
        cosine_mean: Mean of the cosine between the vectors of weights and reference, -1 to 1.
        cosine_least: The smallest such cosine.
        tool: Engine that measured, and its version.
        machine: Processor that it ran on, and instructions used.
    """

    texts: int
    cosine_mean: float
    cosine_least: float
    tool: str
    machine: str


@frozen(kw_only=True)
class QualityFigures:
    """Measurements of a model that generates text. The last digits of floats differ between processors.

    Attributes:
        context: Tokens that were evaluated together.
        tokens: How many tokens were predicted.
        perplexity: exp of the mean negative log-likelihood of those tokens.
        reference_perplexity: The same for the unquantised weights.
        kl_divergence: Mean of KL(reference || weights) over the predictions, in nats.
        kl_divergence_max: The largest KL(reference || weights), in nats.
        same_top: The fraction of the predictions with the same likeliest token, 0 to 1.
        tool: Engine that measured, and its version.
        machine: Processor that it ran on, and instructions used.
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
