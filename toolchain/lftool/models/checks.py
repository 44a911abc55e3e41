"""`[[checks]]`: what must hold of the bundles, and never part of what is built.

Perplexity is measured when a bundle is built, and again by `lftool check`; the others ask the bundle itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge, optional

from lftool.models.lock import check_relative_path
from lftool.models.reals import as_decimal, is_canonical_real

if TYPE_CHECKING:
    from attrs import Attribute

PERPLEXITY = "perplexity"
# Kind to the keys that it needs, and those that it may have besides `name` and `targets`.
KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    PERPLEXITY: (("text", "max_increase"), ("context",)),
    "prompt": (("prompt", "contains"), ("max_tokens", "raw")),
    "regex": (("prompt", "matches"), ("max_tokens", "raw")),
    "json-schema": (("prompt", "schema"), ("max_tokens", "constrained")),
    "embedding": (("prompt", "similar_to", "min_similarity"), ("max_tokens", "raw")),
    "time-to-first-token": (("prompt", "max_seconds"), ("raw",)),
}
_COMMON = {"kind", "name", "targets"}


def _path(_instance: object, _attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None:
        check_relative_path(value)


def _kind(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if value not in KEYS:
        raise ValueError(f"{value!r} is no kind of check; there are {', '.join(map(repr, KEYS))}")


def _positive(_instance: object, _attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None and (not is_canonical_real(value) or as_decimal(value) < 0):
        raise ValueError(f"{value!r} is not a number from 0 on")


def _similarity(_instance: object, attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None and (not is_canonical_real(value) or not -1 <= as_decimal(value) <= 1):
        raise ValueError(f"{attribute.name} must be from -1 to 1, not {value}")


def _pattern(_instance: object, attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{attribute.name}: {value!r} is no regular expression: {error}") from None


@frozen(kw_only=True)
class CheckSpec:
    """One check. Which keys it has depends on its kind."""

    kind: str = field(
        validator=_kind,
        metadata={"doc": f"What is checked: {', '.join(f'`{kind}`' for kind in KEYS)}."},
    )
    name: str | None = field(default=None, metadata={"doc": "What reports call it; default: its kind and number."})
    targets: tuple[str, ...] = field(
        default=(), metadata={"doc": "Targets that are checked; all that can be if empty."}
    )
    text: str | None = field(
        default=None,
        validator=_path,
        metadata={"doc": "perplexity: text to measure with, a path relative to the recipe."},
    )
    max_increase: str | None = field(
        default=None,
        validator=_positive,
        metadata={
            "doc": "perplexity: how much it may rise over the unquantised weights; 0.05 is 5 %.",
            "real": True,
        },
    )
    context: int | None = field(
        default=None,
        validator=optional(ge(3)),
        metadata={
            "doc": "perplexity: tokens that are evaluated together; default 512, or what the model was trained with."
        },
    )
    prompt: str | None = field(default=None, metadata={"doc": "What the model is asked."})
    raw: bool = field(default=False, metadata={"doc": "Complete the prompt as it is, without the chat template."})
    max_tokens: int | None = field(
        default=None, validator=optional(ge(1)), metadata={"doc": "Most tokens of the answer; else the contract's."}
    )
    contains: tuple[str, ...] = field(default=(), metadata={"doc": "prompt: every one must stand in the answer."})
    matches: str | None = field(
        default=None,
        validator=_pattern,
        metadata={"doc": "regex: a regular expression of Python that must match somewhere in the answer."},
    )
    schema: str | None = field(
        default=None,
        validator=_path,
        metadata={"doc": "json-schema: file of a JSON Schema that the answer must be valid against."},
    )
    constrained: bool = field(
        default=False, metadata={"doc": "json-schema: have the server generate by the schema, and check that it does."}
    )
    similar_to: str | None = field(default=None, metadata={"doc": "embedding: text that the answer must be close to."})
    min_similarity: str | None = field(
        default=None,
        validator=_similarity,
        metadata={"doc": "embedding: least cosine of the two embeddings that the model makes.", "real": True},
    )
    max_seconds: str | None = field(
        default=None,
        validator=_positive,
        metadata={
            "doc": "time-to-first-token: most seconds, the middle of five, once the model is loaded.",
            "real": True,
        },
    )

    def __attrs_post_init__(self) -> None:
        needed, allowed = KEYS[self.kind]
        if "" in self.contains or self.matches == "":
            raise ValueError("an empty text stands in every answer; nothing would be checked")
        unset = (None, (), False)
        given = {name for name in _FIELDS if getattr(self, name) not in unset}
        missing = [name for name in needed if name not in given]
        if missing:
            raise ValueError(f"a check of kind {self.kind!r} needs {missing[0]!r}")
        surplus = sorted(given - {*needed, *allowed} - _COMMON)
        if surplus:
            raise ValueError(f"a check of kind {self.kind!r} has no {surplus[0]!r}")


_FIELDS = tuple(item.name for item in CheckSpec.__attrs_attrs__)
