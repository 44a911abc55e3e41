"""The built-in kinds of checks: answers, formats, vectors, rankings, perplexity, time to first token."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import and_, ge, le, min_len, optional

from lftool.api import EmbeddingFigures, Finding, RecipeError, UnavailableError, check_relative_path

if TYPE_CHECKING:
    from attrs import Attribute

    from lftool.api import CheckContext, Figures

_ROUNDS = 5
_SHOWN = 200
_PROMPT = {"doc": "Prompt for the model."}
_RAW = {"doc": "Complete the prompt as it is, without the chat template."}
_MAX_TOKENS = {"doc": "Maximum tokens in the answer; default: the run contract's."}


def _path(_instance: object, _attribute: Attribute[str], value: str) -> None:
    check_relative_path(value)


def _pattern(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if not value:
        raise ValueError("an empty text is in every answer, so nothing would be checked")
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is not a valid regular expression: {error}") from None


def _texts(_instance: object, _attribute: Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    if not all(value):
        raise ValueError("an empty text is in every answer, so nothing would be checked")


def _quoted(text: str) -> str:
    """Return the beginning of an answer, quoted."""
    rest = len(text) - _SHOWN
    return f"{text[:_SHOWN]!r}" + (f" … ({rest} more characters)" if rest > 0 else "")


@frozen(kw_only=True)
class PerplexityOptions:
    """Keys of a check of kind `perplexity`."""

    text: str = field(
        validator=_path, metadata={"doc": "Text to measure with, a path relative to the recipe.", "file": True}
    )
    max_increase: float = field(
        validator=ge(0), metadata={"doc": "Maximum rise over the unquantised weights; 0.05 is 5 %."}
    )
    context: int | None = field(
        default=None,
        validator=optional(ge(3)),
        metadata={"doc": "Tokens evaluated together; default: 512, or the model's trained context if smaller."},
    )


@frozen
class PerplexityCheck:
    """Perplexity may not rise by more than the limit over the unquantised weights."""

    options: PerplexityOptions

    def check(self, context: CheckContext) -> Finding:
        """Measure the perplexity, and judge it."""
        return self.judge(context.quality(self.options.text, self.options.context))

    def judge(self, figures: Figures) -> Finding:
        """Return whether figures pass; a build has figures before there is a bundle.

        Raises:
            RecipeError: The figures are for a model that generates no text.
        """
        options = self.options
        if isinstance(figures, EmbeddingFigures):
            raise RecipeError(
                "a perplexity check needs a model that generates text; this is an embedding model",
                hints=("use a check of kind 'embedding'; `lftool quality` measures how far embeddings moved",),
            )
        rose = figures.increase
        found = f"perplexity {figures.perplexity:.4f}, {rose:+.2%}"
        if rose <= options.max_increase:
            return Finding(detail=found)
        name = options.text.rpartition("/")[2]
        return Finding(
            failure=f"perplexity of {name} is {figures.perplexity:.4f}, the unquantised weights have"
            f" {figures.reference_perplexity:.4f}: {rose:+.2%}, but the check allows {options.max_increase:+.2%}",
            detail=found,
        )


@frozen(kw_only=True)
class PromptOptions:
    """Keys of a check of kind `prompt`."""

    prompt: str = field(metadata=_PROMPT)
    contains: tuple[str, ...] = field(
        validator=[min_len(1), _texts], metadata={"doc": "Texts that must all be in the answer."}
    )
    max_tokens: int | None = field(default=None, validator=optional(ge(1)), metadata=_MAX_TOKENS)
    raw: bool = field(default=False, metadata=_RAW)


@frozen
class PromptCheck:
    """An answer contains the given texts."""

    options: PromptOptions

    def check(self, context: CheckContext) -> Finding:
        """Ask, and look for the texts."""
        options = self.options
        answer = context.ask(options.prompt, raw=options.raw, max_tokens=options.max_tokens)
        missing = [text for text in options.contains if text not in answer]
        failure = f"{missing[0]!r} is not in the answer {_quoted(answer)}" if missing else None
        return Finding(failure=failure, detail=answer)


@frozen(kw_only=True)
class RegexOptions:
    """Keys of a check of kind `regex`."""

    prompt: str = field(metadata=_PROMPT)
    matches: str = field(
        validator=_pattern,
        metadata={"doc": "Python regular expression that must match somewhere in the answer."},
    )
    max_tokens: int | None = field(default=None, validator=optional(ge(1)), metadata=_MAX_TOKENS)
    raw: bool = field(default=False, metadata=_RAW)


@frozen
class RegexCheck:
    """An answer matches a regular expression."""

    options: RegexOptions

    def check(self, context: CheckContext) -> Finding:
        """Ask, and search the answer."""
        options = self.options
        answer = context.ask(options.prompt, raw=options.raw, max_tokens=options.max_tokens)
        found = re.search(options.matches, answer)
        failure = None if found else f"{options.matches!r} matches nothing in the answer {_quoted(answer)}"
        return Finding(failure=failure, detail=answer)


@frozen(kw_only=True)
class JSONSchemaOptions:
    """Keys of a check of kind `json-schema`."""

    prompt: str = field(metadata=_PROMPT)
    schema: str = field(
        validator=_path,
        metadata={"doc": "JSON Schema file that the answer must be valid against.", "file": True},
    )
    constrained: bool = field(
        default=False, metadata={"doc": "Make the server constrain its answer to the schema, and check that it did."}
    )
    max_tokens: int | None = field(default=None, validator=optional(ge(1)), metadata=_MAX_TOKENS)


@frozen
class JSONSchemaCheck:
    """An answer is JSON that is valid for a schema."""

    options: JSONSchemaOptions

    def check(self, context: CheckContext) -> Finding:
        """Ask, and validate. Raises RecipeError if the file is not a JSON Schema, or the validator is not installed."""
        from lftool.builtin.json_schemas import difference, read_schema  # noqa: PLC0415 - needs an extra

        options = self.options
        schema = read_schema(options.schema, context.files)
        try:
            held = schema if options.constrained else None
            answer = context.ask(options.prompt, max_tokens=options.max_tokens, schema=held)
        except UnavailableError as error:
            if not options.constrained:
                raise
            message = f"{error.message}; if the server cannot apply a schema to this model, drop `constrained`"
            raise UnavailableError(message) from error
        found = difference(answer, schema, options.schema)
        return Finding(failure=None if found is None else f"{found}; the answer is {_quoted(answer)}", detail=answer)


@frozen(kw_only=True)
class EmbeddingOptions:
    """Keys of a check of kind `embedding`."""

    prompt: str = field(metadata=_PROMPT)
    similar_to: str = field(metadata={"doc": "Text that the answer must be close to."})
    min_similarity: float = field(
        validator=and_(ge(-1), le(1)), metadata={"doc": "Minimum cosine of the model's vectors for the two texts."}
    )
    max_tokens: int | None = field(default=None, validator=optional(ge(1)), metadata=_MAX_TOKENS)
    raw: bool = field(default=False, metadata=_RAW)


@frozen
class EmbeddingCheck:
    """An answer is close to a text; for a model that makes embeddings, the prompt is."""

    options: EmbeddingOptions

    def check(self, context: CheckContext) -> Finding:
        """Ask, and compare vectors."""
        options, answer = self.options, self.options.prompt
        if context.does == "generates":
            answer = context.ask(options.prompt, raw=options.raw, max_tokens=options.max_tokens)
        one, other = context.embed([answer or " ", options.similar_to])
        length = math.sqrt(sum(x * x for x in one) * sum(y * y for y in other))
        cosine = sum(x * y for x, y in zip(one, other, strict=True)) / length if length else 0.0
        if cosine >= options.min_similarity:
            return Finding(detail=f"similarity {cosine:.3f}")
        return Finding(  # also if it is not a number
            failure=f"the similarity to {options.similar_to!r} is {cosine:.3f}, but the check needs"
            f" {options.min_similarity:g}; the answer is {_quoted(answer)}",
            detail=answer,
        )


@frozen(kw_only=True)
class RerankOptions:
    """Keys of a check of kind `rerank`."""

    query: str = field(validator=min_len(1), metadata={"doc": "Query that documents are ranked for."})
    best: str = field(validator=min_len(1), metadata={"doc": "Document that must get the highest score."})
    others: tuple[str, ...] = field(
        validator=[min_len(1), _texts], metadata={"doc": "Documents that must all score lower."}
    )
    min_margin: float = field(
        default=0.0, validator=ge(0), metadata={"doc": "By how much `best` must lead, in the model's own scores."}
    )


@frozen
class RerankCheck:
    """A document is more relevant to a query than others."""

    options: RerankOptions

    def check(self, context: CheckContext) -> Finding:
        """Rank, and compare scores."""
        options = self.options
        best, *others = context.rank(options.query, [options.best, *options.others])
        rival, score = max(zip(options.others, others, strict=True), key=lambda one: one[1])
        found = f"{options.best!r} scores {best:.3f}, {rival!r} {score:.3f}"
        if best > score and best - score >= options.min_margin:
            return Finding(detail=found)
        return Finding(failure=f"{found}, but the check needs a lead of {options.min_margin:g}", detail=found)


@frozen(kw_only=True)
class FirstTokenOptions:
    """Keys of a check of kind `time-to-first-token`."""

    prompt: str = field(metadata=_PROMPT)
    max_seconds: float = field(
        validator=ge(0), metadata={"doc": "Maximum seconds: the median of five, once the model is loaded."}
    )
    raw: bool = field(default=False, metadata=_RAW)


@frozen
class FirstTokenCheck:
    """The first token comes soon enough."""

    options: FirstTokenOptions

    def check(self, context: CheckContext) -> Finding:
        """Ask six times; the first request reads the weights."""
        options = self.options
        context.first_token(options.prompt, raw=options.raw)
        found = sorted(context.first_token(options.prompt, raw=options.raw) for _ in range(_ROUNDS))[_ROUNDS // 2]
        if found <= options.max_seconds:
            return Finding(detail=f"{found:.3f} s")
        return Finding(
            failure=f"the first token came after {found:.3f} s, but the check allows {options.max_seconds:g} s"
        )
