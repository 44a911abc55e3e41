"""Answers in OpenAI's words: whole, or as events of a stream; chats and completions."""

from __future__ import annotations

import itertools
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from lftool_llamacpp.requests import Asked, BadRequestError
from lftool_llamacpp.token_stream import ServedModel, TokenChance
from lftool_llamacpp.tool_calls import CallPiece, CallReader, joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool_llamacpp.token_stream import Piece

_SEEDS = 2**32 - 1  # llama.cpp's largest one stands for chance


@frozen(kw_only=True)
class _Delta:
    """What one choice gains.

    Attributes:
        index: Which choice.
        text: What comes next of its text.
        calls: What comes next of its calls.
        chances: How likely the tokens were.
        finish: Why it ended, in its last delta.
        tokens: How many tokens it has so far.
    """

    index: int
    text: str = ""
    calls: tuple[CallPiece, ...] = ()
    chances: tuple[TokenChance, ...] = ()
    finish: str | None = None
    tokens: int = 0


def _deltas(pieces: Iterator[Piece], asked: Asked, index: int, *, chats: bool) -> Iterator[_Delta]:
    """Yield a choice as it comes: without the space that a template leaves to the answer, and calls apart from text."""
    reader = CallReader(asked.calling) if asked.calling is not None else None
    begun = not chats
    for piece in pieces:
        text, calls = piece.text, list[CallPiece]()
        if reader is not None:
            text, calls = reader.feed(text, last=piece.finish is not None)
        if not begun:
            text = text.lstrip()
            begun = bool(text)
        finish = piece.finish
        if finish == "stop" and reader is not None and reader.called:
            finish = "tool_calls"
        if text or calls or piece.chances or finish:
            yield _Delta(
                index=index, text=text, calls=tuple(calls), chances=piece.chances, finish=finish, tokens=piece.tokens
            )


def _shown_bytes(data: bytes) -> dict[str, Any]:
    return {"token": data.decode("utf-8", "replace"), "bytes": list(data)}


def _chat_chance(chance: TokenChance) -> dict[str, Any]:
    others = [{**_shown_bytes(data), "logprob": logprob} for data, logprob in chance.others]
    return {**_shown_bytes(chance.text), "logprob": chance.logprob, "top_logprobs": others}


@define
class Reply:
    """What a request is answered with.

    Attributes:
        model: What answers.
        name: What it is called.
        asked: What is asked.
        check: Raises when nobody waits for the answer any more; called before each token.
        count: Called with the number of tokens of each answer.
    """

    model: ServedModel
    name: str
    asked: Asked
    check: Callable[[], None]
    count: Callable[[int], None] = lambda _: None
    _head: dict[str, Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        kind = "chat.completion" if self.asked.chat else "text_completion"
        word = "chatcmpl" if self.asked.chat else "cmpl"
        self._head = {
            "id": f"{word}-{secrets.token_hex(12)}",
            "object": kind,
            "created": int(time.time()),
            "model": self.name,
        }

    def whole(self) -> Iterator[dict[str, Any]]:
        """Yield the one object of an answer that is not streamed."""
        prompt, deltas = self._made()
        choices: defaultdict[int, _Choice] = defaultdict(_Choice)
        for delta in deltas:
            choices[delta.index].add(delta)
        shown = [self._shown_choice(index, choice) for index, choice in choices.items()]
        yield {
            **self._head,
            "choices": shown,
            "usage": _usage(prompt, sum(choice.tokens for choice in choices.values())),
        }

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of an answer that is streamed."""
        asked = self.asked
        head = {**self._head, "object": "chat.completion.chunk"} if asked.chat else self._head
        told: dict[str, Any] = {"usage": None} if asked.usage else {}
        prompt, deltas = self._made()
        begun, tokens = set[int](), dict[int, int]()
        for delta in deltas:
            if delta.index not in begun:
                begun.add(delta.index)
                if asked.chat:
                    first = {"role": "assistant", "content": None if delta.calls else ""}
                    yield {**head, "choices": [_event(delta.index, delta=first)], **told}
                elif asked.echo:
                    yield {**head, "choices": [_event(delta.index, text=self._prompt_text(delta.index))], **told}
            tokens[delta.index] = delta.tokens
            for choice in self._event_choices(delta):
                yield {**head, "choices": [choice], **told}
        if asked.usage:
            yield {**head, "choices": [], "usage": _usage(prompt, sum(tokens.values()))}

    def _made(self) -> tuple[int, Iterator[_Delta]]:
        """Return how many tokens the prompts have, and what is made of them."""
        asked = self.asked
        prompts, stops = self.model.prompt_tokens(asked)
        longest = max(map(len, prompts))
        if longest >= self.model.context:
            raise BadRequestError(
                f"the prompt has {longest} tokens, and the context {self.model.context}",
                code="context_length_exceeded",
            )
        first = asked.seed if asked.seed is not None else random.randrange(_SEEDS)  # noqa: S311 - no secret

        def made() -> Iterator[_Delta]:
            for index, (tokens, turn) in enumerate(itertools.product(prompts, range(asked.count))):
                seed = (first + turn) % _SEEDS
                last = 0
                pieces = self.model.pieces(tokens, (*asked.stop, *stops), asked, seed, self.check)
                for delta in _deltas(pieces, asked, index, chats=asked.chat and self.model.chats):
                    last = delta.tokens
                    yield delta
                self.count(last)

        return sum(map(len, prompts)), made()

    def _prompt_text(self, index: int) -> str:
        """Return the prompt of a choice."""
        prompt = self.asked.prompts[index // self.asked.count]
        return prompt if isinstance(prompt, str) else self.model.text_of(prompt)

    def _event_choices(self, delta: _Delta) -> Iterator[dict[str, Any]]:
        asked = self.asked
        if not asked.chat:
            chances = _completion_chances(delta.chances, 0) if asked.logprobs is not None else None
            yield _event(delta.index, chances, delta.finish, text=delta.text)
            return
        chances = {"content": list(map(_chat_chance, delta.chances))} if asked.logprobs is not None else None
        if delta.text or delta.chances:
            yield _event(delta.index, chances, delta={"content": delta.text})
        for call in delta.calls:
            yield _event(delta.index, delta={"tool_calls": [call.shown()]})
        if delta.finish is not None:
            yield _event(delta.index, None, delta.finish, delta={})

    def _shown_choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        if not self.asked.chat:
            text = self._prompt_text(index) + choice.text if self.asked.echo else choice.text
            chances = _completion_chances(tuple(choice.chances), 0) if self.asked.logprobs is not None else None
            return _event(index, chances, choice.finish, text=text)
        message: dict[str, Any] = {"role": "assistant", "content": choice.text}
        if choice.calls:
            message |= {"content": choice.text or None, "tool_calls": joined(choice.calls)}
        chances = {"content": list(map(_chat_chance, choice.chances))} if self.asked.logprobs is not None else None
        return _event(index, chances, choice.finish, message=message)


@define
class _Choice:
    """One answer, whole."""

    text: str = ""
    calls: list[CallPiece] = field(factory=list)
    chances: list[TokenChance] = field(factory=list)
    finish: str | None = None
    tokens: int = 0

    def add(self, delta: _Delta) -> None:
        self.text += delta.text
        self.calls += delta.calls
        self.chances += delta.chances
        self.finish, self.tokens = delta.finish or self.finish, delta.tokens


def _event(index: int, chances: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"index": index, **more, "logprobs": chances, "finish_reason": finish}


def _usage(prompt: int, tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}


def _completion_chances(chances: tuple[TokenChance, ...], begin: int) -> dict[str, Any]:
    """Return chances as completions tell them: four lists."""
    texts = [chance.text.decode("utf-8", "replace") for chance in chances]
    offsets, at = [], begin
    for text in texts:
        offsets.append(at)
        at += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [chance.logprob for chance in chances],
        "top_logprobs": [
            {data.decode("utf-8", "replace"): logprob for data, logprob in chance.others} for chance in chances
        ],
        "text_offset": offsets,
    }
