"""What quantizers that can prove a derivation get and give: whether a tensor is what a base's tensor becomes."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen
from attrs.validators import ge

from lftool.api.types import of, tuple_of


@frozen(kw_only=True)
class Arithmetic:
    """A named way to compute quantised blocks.

    Attributes:
        name: The semantics, or the semantics and a variant: `ggml-q/1+fma/gcc-x86-64-v3`.
        title: What computes so, for people.
    """

    name: str = field(validator=of(str))
    title: str = field(validator=of(str))


@frozen(kw_only=True)
class TensorBytes:
    """Where the bytes of a tensor are.

    Attributes:
        path: The file.
        offset: Where they begin there, in bytes.
        type: Type of its elements, as in `GGML_TYPES`.
    """

    path: Path
    offset: int = field(validator=ge(0))
    type: str = field(validator=of(str))


@frozen(kw_only=True)
class DeriveRequest:
    """A tensor, and the tensor of a base that it may be made from.

    Attributes:
        tensor: Its name.
        dimensions: Of both, fastest first.
        base: The base's tensor: `F32`, `F16` or `BF16`; of the type of `made`, it is compared as it is.
        made: The tensor in question.
        through: Type that the base's weights are rounded to first; empty for none.
        imatrix: The importance matrix; None without one.
        arithmetics: Names of those to compare with, the likeliest first.
        sampled: Whether a few rows are enough.
    """

    tensor: str
    dimensions: tuple[int, ...]
    base: TensorBytes
    made: TensorBytes
    through: str = ""
    imatrix: Path | None = None
    arithmetics: tuple[str, ...]
    sampled: bool = False


@frozen(kw_only=True)
class Fit:
    """How an arithmetic fits a tensor.

    Attributes:
        arithmetic: Its name.
        compared: How many blocks were compared. After the first difference, only some more are.
        differing: How many of them differ.
        first: Number of the first one; None if none differs.
    """

    arithmetic: str = field(validator=of(str))
    compared: int = field(validator=ge(0))
    differing: int = field(validator=ge(0))
    first: int | None = None

    @property
    def fits(self) -> bool:
        """Whether no block differs."""
        return not self.differing


@frozen(kw_only=True)
class Distance:
    """How far some differing blocks are from what the best arithmetic makes, and from the base.

    Attributes:
        blocks: How many were looked at.
        levels: The largest distance of a weight, in levels of its block.
        relative: Norm of the distance over the norm of what the arithmetic makes.
        worse: The error against the base over that of what the arithmetic makes, of the worst block.
        worst: Number of that block.
        from_base: Norm of the distance to the base over the base's norm.
    """

    blocks: int
    levels: float
    relative: float
    worse: float
    worst: int
    from_base: float


@frozen(kw_only=True)
class DeriveResult:
    """What came of a comparison.

    Attributes:
        blocks: How many blocks the tensor has; elements, of a type without blocks.
        importance: Whether an importance matrix would change what is made.
        fits: One for each arithmetic that was asked for, in that order.
        distance: None if an arithmetic fits.
    """

    blocks: int
    importance: bool
    fits: tuple[Fit, ...] = field(validator=tuple_of(Fit))
    distance: Distance | None = None
