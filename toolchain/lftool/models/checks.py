"""`[[checks]]`: what must hold of the bundles; measured when they are built, and never part of what is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge, optional

from lftool.models.lock import check_relative_path
from lftool.models.reals import as_decimal, is_canonical_real

if TYPE_CHECKING:
    from attrs import Attribute


def _path(_instance: object, _attribute: Attribute[str], value: str) -> None:
    check_relative_path(value)


def _increase(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if not is_canonical_real(value) or as_decimal(value) < 0:
        raise ValueError(f"{value!r} is not a number from 0 on")


def _kind(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if value != "perplexity":
        raise ValueError(f"{value!r} is no kind of check; there is 'perplexity'")


@frozen(kw_only=True)
class CheckSpec:
    """One check."""

    kind: str = field(validator=_kind, metadata={"doc": "What is measured: `perplexity`."})
    text: str = field(validator=_path, metadata={"doc": "Text to measure with, a path relative to the recipe."})
    max_increase: str = field(
        validator=_increase,
        metadata={"doc": "How much perplexity may rise over the unquantised weights; 0.05 is 5 %.", "real": True},
    )
    targets: tuple[str, ...] = field(
        default=(), metadata={"doc": "Targets that are checked; all that are quantised if empty."}
    )
    context: int | None = field(
        default=None,
        validator=optional(ge(3)),
        metadata={
            "doc": "Tokens that are evaluated together; default 512, or what the model was trained with, if less."
        },
    )
