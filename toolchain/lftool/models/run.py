"""The run contract: how a model is meant to be run; part of recipe and manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import and_, ge, le

from lftool.models.reals import is_canonical_real

if TYPE_CHECKING:
    from attrs import Attribute


def _real(_instance: object, _attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None and not is_canonical_real(value):
        raise ValueError(f"{value!r} is not a canonical decimal number")


@frozen(kw_only=True)
class RunContract:
    """`[run]`: how the model is meant to be run; it travels in the bundle. Reals are canonical decimal strings."""

    context: int | None = field(
        default=None,
        validator=lambda i, a, v: v is None or ge(1)(i, a, v),
        metadata={"doc": "Context length in tokens."},
    )
    max_tokens: int | None = field(
        default=None,
        validator=lambda i, a, v: v is None or ge(1)(i, a, v),
        metadata={"doc": "Most tokens of one answer."},
    )
    seed: int | None = field(
        default=None,
        validator=lambda i, a, v: v is None or and_(ge(0), le(2**32 - 2))(i, a, v),
        metadata={"doc": "Seed of the sampler."},
    )
    system: str | None = field(default=None, metadata={"doc": "System prompt."})
    stop: tuple[str, ...] = field(default=(), metadata={"doc": "Strings that end an answer."})
    top_k: int | None = field(
        default=None,
        validator=lambda i, a, v: v is None or ge(0)(i, a, v),
        metadata={"doc": "Sample among the K likeliest tokens; 0 is all."},
    )
    temperature: str | None = field(
        default=None, validator=_real, metadata={"doc": "Sampling temperature; 0 is greedy.", "real": True}
    )
    top_p: str | None = field(default=None, validator=_real, metadata={"doc": "Nucleus sampling mass.", "real": True})
    min_p: str | None = field(
        default=None,
        validator=_real,
        metadata={"doc": "Least probability relative to the likeliest token.", "real": True},
    )
    repeat_penalty: str | None = field(
        default=None, validator=_real, metadata={"doc": "Penalty on repeated tokens; 1 is none.", "real": True}
    )
