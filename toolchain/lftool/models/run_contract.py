"""The run contract: how to run a model. Part of recipe and manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import and_, ge, le

from lftool.models.reals import as_decimal, is_canonical_real

if TYPE_CHECKING:
    from collections.abc import Callable

    from attrs import Attribute


_MAX_COUNT = 2**31 - 1  # llama.cpp counts tokens in 32-bit signed integers


def _between(least: int, most: int) -> Callable[[object, Attribute[Any], int | None], None]:
    inner = and_(ge(least), le(most))

    def check(instance: object, attribute: Attribute[Any], value: int | None) -> None:
        if value is not None:
            inner(instance, attribute, value)

    return check


def _real_between(least: str, most: str) -> Callable[[object, Attribute[Any], str | None], None]:
    def check(instance: object, attribute: Attribute[Any], value: str | None) -> None:
        _real(instance, attribute, value)
        if value is not None and not as_decimal(least) <= as_decimal(value) <= as_decimal(most):
            raise ValueError(f"{attribute.name!r} must be from {least} to {most}, not {value}")

    return check


def _real(_instance: object, _attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None and not is_canonical_real(value):
        raise ValueError(f"{value!r} is not a canonical decimal number")


@frozen(kw_only=True)
class RunContract:
    """`[run]`: how to run the model. It is stored in the bundle. Reals are canonical decimal strings."""

    context: int | None = field(
        default=None,
        validator=_between(1, _MAX_COUNT),
        metadata={"doc": "Context length in tokens."},
    )
    max_tokens: int | None = field(
        default=None,
        validator=_between(1, _MAX_COUNT),
        metadata={"doc": "Maximum tokens of one answer."},
    )
    seed: int | None = field(
        default=None,
        validator=_between(0, 2**32 - 2),
        metadata={"doc": "Seed of the sampler."},
    )
    system: str | None = field(default=None, metadata={"doc": "System prompt."})
    stop: tuple[str, ...] = field(default=(), metadata={"doc": "Strings that end an answer."})
    top_k: int | None = field(
        default=None,
        validator=_between(0, _MAX_COUNT),
        metadata={"doc": "Sample from the K likeliest tokens; 0 is all."},
    )
    temperature: str | None = field(
        default=None,
        validator=_real_between("0", "100"),
        metadata={"doc": "Sampling temperature; 0 is greedy.", "real": True},
    )
    top_p: str | None = field(
        default=None, validator=_real_between("0", "1"), metadata={"doc": "Nucleus sampling mass.", "real": True}
    )
    min_p: str | None = field(
        default=None,
        validator=_real_between("0", "1"),
        metadata={"doc": "Minimum probability relative to the likeliest token.", "real": True},
    )
    repeat_penalty: str | None = field(
        default=None,
        validator=_real_between("0.01", "100"),
        metadata={"doc": "Penalty on repeated tokens; 1 is none.", "real": True},
    )
    publish: bool = field(
        default=False,
        metadata={"doc": "Whether to write the sampling settings into the weights, as `general.sampling.*`."},
    )
