"""What a backend is asked to load before a model is locked, and what it found."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen
from attrs.validators import ge, optional


@frozen(kw_only=True)
class LoadRequest:
    """A model to load without its data.

    Attributes:
        weights: A GGUF. Its metadata and list of tensors are there; behind them there may be zeros.
        context: Tokens of context to make room for; None for as many as the model was trained with.
    """

    weights: Path
    context: int | None = field(default=None, validator=optional(ge(1)))


@frozen(kw_only=True)
class LoadReport:
    """What loading found.

    Attributes:
        tool: What loaded it, and its version.
        context: Tokens of context that `context_bytes` is for.
        context_bytes: Memory that a context takes besides the weights: cache and intermediate results; None where not known.
        warnings: What the model loads with, and will not do; sentences without a full stop.
    """

    tool: str
    context: int = field(default=0, validator=ge(0))
    context_bytes: int | None = field(default=None, validator=optional(ge(0)))
    warnings: tuple[str, ...] = ()
