"""From tokens to text: whole characters, an end at stop strings, and how likely each token was."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lftool_llamacpp.requests import Asked


class ServedModel(Protocol):
    """What answers requests: `LoadedModel` with llama-cpp-python. Other engines bring their own."""

    @property
    def context(self) -> int:
        """How many tokens prompt and answer may have."""

    @property
    def chats(self) -> bool:
        """Whether there is a chat template; else what is said is completed as it is."""

    def prompt_tokens(self, asked: Asked) -> tuple[list[list[int]], tuple[str, ...]]:
        """Return the tokens of each prompt, and strings that end an answer besides those that the request names."""

    def pieces(
        self,
        tokens: Sequence[int],
        stops: tuple[str, ...],
        asked: Asked,
        seed: int | None,
        check: Callable[[], None],
    ) -> Iterator[Piece]:
        """Yield one answer piece by piece; the last piece has a `finish`.

        Args:
            tokens: Of the prompt; at least one, and fewer than the context.
            stops: Strings that end it.
            asked: What is asked.
            seed: Where chance begins; None for anywhere.
            check: Called before each token; it may raise.
        """

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""

    def tokens_of(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text; `special` adds what the model wants at its begin and end."""


class TokenModel(Protocol):
    """What makes tokens one by one."""

    @property
    def context(self) -> int:
        """How many tokens prompt and answer may have."""

    def generate(
        self, tokens: Sequence[int], asked: Asked, seed: int | None, check: Callable[[], None]
    ) -> Iterator[int]:
        """Yield tokens without end; `check` is called while a long prompt is read, and may raise."""

    def ends(self, token: int) -> bool:
        """Tell whether a token ends an answer."""

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token."""

    def likely(self, token: int, count: int) -> TokenChance:
        """Return how likely the token that came last was, and the `count` likeliest at its place."""


@frozen(kw_only=True)
class TokenChance:
    """How likely a token was.

    Attributes:
        text: Its bytes.
        logprob: The natural logarithm of its probability, before sampling changes it.
        others: The likeliest at this place, with theirs.
    """

    text: bytes
    logprob: float
    others: tuple[tuple[bytes, float], ...] = ()


@frozen(kw_only=True)
class Piece:
    """Some of an answer.

    Attributes:
        text: What comes next.
        chances: Of the tokens that begin in it, where they are asked for.
        finish: `stop` or `length` in the last piece; None before.
        tokens: How many tokens the answer has so far.
    """

    text: str
    chances: tuple[TokenChance, ...] = ()
    finish: str | None = None
    tokens: int = 0


def held_back(text: str, stops: Sequence[str]) -> int:
    """Return how many characters at the end of a text may be the begin of a stop string."""
    longest = 0
    for stop in stops:
        for size in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:size]):
                longest = size
                break
    return longest


@define
class _Text:
    """Text that comes in bytes, some of it not yet told."""

    stops: tuple[str, ...]
    waiting: str = ""
    told: int = 0
    decoder: codecs.IncrementalDecoder = field(factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))

    @property
    def size(self) -> int:
        return self.told + len(self.waiting)

    def take(self, data: bytes, *, last: bool = False) -> tuple[str, bool]:
        """Return what may be told now, and whether a stop string was met."""
        self.waiting += self.decoder.decode(data, final=last)
        found = [at for stop in self.stops if (at := self.waiting.find(stop)) >= 0]
        keep = len(self.waiting) - min(found) if found else 0 if last else held_back(self.waiting, self.stops)
        text = self.waiting[: len(self.waiting) - keep]
        self.waiting = self.waiting[len(text) :]
        self.told += len(text)
        return text, bool(found)


def answer(
    model: TokenModel,
    tokens: Sequence[int],
    stops: tuple[str, ...],
    asked: Asked,
    seed: int | None,
    check: Callable[[], None],
) -> Iterator[Piece]:
    """Yield one answer piece by piece, of a model that makes tokens; arguments as of `ServedModel.pieces`."""
    room = model.context - len(tokens)
    most = min(asked.most or room, room)
    text, count = _Text(stops=stops), 0
    chances: list[tuple[int, TokenChance]] = []  # with where they begin

    def due(*, last: bool) -> tuple[TokenChance, ...]:
        ready = [chance for at, chance in chances if last or at < text.told]
        del chances[: len(ready)]
        return tuple(ready)

    for token in model.generate(tokens, asked, seed, check):
        check()
        if model.ends(token):
            break
        count += 1
        data = model.piece(token)
        if asked.logprobs is not None:
            chances.append((text.size, model.likely(token, asked.logprobs)))
        told, met = text.take(data)
        if met:
            yield Piece(text=told, chances=due(last=False), finish="stop", tokens=count)
            return
        if count == most:
            rest, met = text.take(b"", last=True)
            yield Piece(text=told + rest, chances=due(last=not met), finish="stop" if met else "length", tokens=count)
            return
        if told:
            yield Piece(text=told, chances=due(last=False), tokens=count)
    rest, met = text.take(b"", last=True)
    yield Piece(text=rest, chances=due(last=not met), finish="stop", tokens=count)
