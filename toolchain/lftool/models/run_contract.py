"""The run contract: how to run a model. Part of recipe and manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, fields, frozen
from attrs.validators import and_, ge, le

from lftool.models.answer_schemas import parse_answer_schema
from lftool.models.gbnf import check_gbnf
from lftool.models.reals import as_decimal, is_canonical_real
from lftool.models.run_keys import RUN_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from attrs import Attribute


_MAX_COUNT = 2**31 - 1  # llama.cpp counts tokens in 32-bit signed integers
_MOST_STOP_TOKENS = 64

# ggml types of the KV cache that llama.cpp takes (common/arg.cpp, kv_cache_types).
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "iq4_nl", "q4_1", "q4_0"]
RopeScaling = Literal["none", "linear", "yarn"]
Reasoning = Literal["on", "off"]


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


def _grammar(_instance: object, _attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None:
        check_gbnf(value)


def _answer_schema(_instance: object, _attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None:
        parse_answer_schema(value)


def _token_texts(_instance: object, attribute: Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    if len(value) > _MOST_STOP_TOKENS or "" in value or len(set(value)) != len(value):
        raise ValueError(f"{attribute.name!r} must be up to {_MOST_STOP_TOKENS} texts, none empty, none twice")


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
    reasoning: Reasoning | None = field(
        default=None,
        metadata={
            "doc": "Whether the model thinks before it answers: `enable_thinking` of its chat template; default the template's."
        },
    )
    grammar: str | None = field(
        default=None,
        validator=_grammar,
        metadata={"doc": "GBNF grammar of every answer, unless a request names a format or calls tools."},
    )
    json_schema: str | None = field(
        default=None,
        validator=_answer_schema,
        metadata={"doc": "JSON Schema of every answer, as JSON text, in place of a grammar."},
    )
    stop_tokens: tuple[str, ...] = field(
        default=(),
        validator=_token_texts,
        metadata={"doc": "Tokens of the vocabulary that end an answer, by their text, besides the model's own."},
    )
    cache_type: CacheType | None = field(
        default=None, metadata={"doc": "Tensor type of the KV cache, keys and values; default `f16`."}
    )
    rope_scaling: RopeScaling | None = field(
        default=None, metadata={"doc": "How positions are scaled for longer contexts; default the model's way."}
    )
    rope_scale: str | None = field(
        default=None,
        validator=_real_between("1", "1000"),
        metadata={"doc": "Factor by which `rope_scaling` lengthens the context.", "real": True},
    )
    rope_freq_base: str | None = field(
        default=None,
        validator=_real_between("1", "1000000000"),
        metadata={"doc": "Base frequency of RoPE; default the model's.", "real": True},
    )
    yarn_original_context: int | None = field(
        default=None,
        validator=_between(1, _MAX_COUNT),
        metadata={"doc": "Context length in tokens that the model was trained with, which `yarn` scales from."},
    )
    publish: bool = field(
        default=False,
        metadata={"doc": "Whether to write the sampling settings into the weights, as `general.sampling.*`."},
    )

    def __attrs_post_init__(self) -> None:
        if self.grammar is not None and self.json_schema is not None:
            raise ValueError("'grammar' and 'json_schema' both say what an answer is: keep one")
        if self.rope_scale is not None and self.rope_scaling not in {"linear", "yarn"}:
            raise ValueError('\'rope_scale\' needs rope_scaling = "linear" or "yarn"')
        if self.yarn_original_context is not None and self.rope_scaling != "yarn":
            raise ValueError("'yarn_original_context' needs rope_scaling = \"yarn\"")
        if as_decimal(self.rope_scale or "1") * (self.yarn_original_context or 1) > _MAX_COUNT:
            raise ValueError(f"'yarn_original_context' times 'rope_scale' must be at most {_MAX_COUNT}")

    @property
    def said(self) -> tuple[str, ...]:
        """Names of the keys that say how to run the model, in alphabetical order."""
        defaults = {item.name: item.default for item in fields(type(self))}
        return tuple(sorted(name for name in RUN_KEYS if getattr(self, name) != defaults[name]))
