"""What a backend loads before a model is locked, and what it found."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen
from attrs.validators import ge, optional


@frozen(kw_only=True)
class LoadRequest:
    """A model to load without its data.

    Attributes:
        weights: A GGUF with its metadata and list of tensors. The tensor data may be zeros.
        context: Context length to make room for, in tokens; None for the length that the model was trained with.
    """

    weights: Path
    context: int | None = field(default=None, validator=optional(ge(1)))


@frozen(kw_only=True)
class LoadReport:
    """What loading found.

    Attributes:
        tool: Engine that loaded it, and its version.
        context: Context length that `context_bytes` is for, in tokens.
        context_bytes: Memory that the context takes besides the weights: cache and intermediate results. None if
            unknown.
        warnings: What the model will not do, although it loads: sentences without a full stop.
    """

    tool: str
    context: int = field(default=0, validator=ge(0))
    context_bytes: int | None = field(default=None, validator=optional(ge(0)))
    warnings: tuple[str, ...] = ()
