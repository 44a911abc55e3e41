"""A model as the server and the runner use it: prompts to tokens, answers piece by piece, vectors and ranks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from attrs import define, field

from lftool_llamacpp.conversations import prompts_of
from lftool_llamacpp.token_stream import Piece, TokenChance
from lftool_xllamacpp.engine import Engine
from lftool_xllamacpp.templates import ChatTemplate, Prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lftool_llamacpp.requests import Asked

# What llama.cpp's server calls what llama-cpp-python's functions take.
_NAMES = {"temp": "temperature", "mirostat_mode": "mirostat", "max_tokens": "n_predict"}


def _unwatched(done: int, whole: int) -> None:
    """Look at nothing."""


def _chances(event: Mapping[str, Any], count: int) -> tuple[TokenChance, ...]:
    """Return how likely the tokens of an event were, each with the `count` likeliest at its place."""
    return tuple(
        TokenChance(
            text=bytes(said["bytes"]),
            logprob=float(said["logprob"]),
            others=tuple(
                (bytes(other["bytes"]), float(other["logprob"])) for other in said.get("top_logprobs", [])[:count]
            ),
        )
        for said in event.get("completion_probabilities", [])
    )


@define
class Model:
    """A model in memory, which does one thing at a time.

    Attributes:
        engine: Has it.
        render: Makes a prompt of a conversation.
        template: The chat template; empty for none.
        context: How many tokens prompt and answer may have.
        seed: Where chance begins, unless a request says.
        held: The grammar that the run contract holds answers to; None for none. The server has it in what is asked.
        ends: Tokens that end an answer besides the model's own.
        progress: Called with how many tokens of a prompt have been read, and how many it has; may raise.
        n_tokens: How many tokens prompt and answer have so far.
    """

    engine: Engine
    render: Callable[..., Prompt]
    template: str
    context: int
    seed: int = 0
    held: str | None = None
    ends: frozenset[int] = frozenset()
    progress: Callable[[int, int], None] = _unwatched
    n_tokens: int = field(default=0, init=False)

    @property
    def chats(self) -> bool:
        """Whether there is a chat template; else what is said is completed as it is."""
        return bool(self.template)

    @property
    def metadata(self) -> dict[str, str]:
        """What the runner asks of a model's metadata."""
        return {"tokenizer.chat_template": self.template} if self.template else {}

    @property
    def input_ids(self) -> range:
        """Something as long as the context; the runner asks for its length."""
        return range(self.context)

    def tokens_of(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text; `special` adds what the model wants at its begin and end."""
        return self.tokenize(text.encode("utf-8", "replace"), add_bos=special)

    def tokenize(self, text: bytes, *, add_bos: bool = True, special: bool = True) -> list[int]:
        """Return the tokens of a text, as the runner asks for them."""
        asked = {"content": text.decode("utf-8", "replace"), "add_special": add_bos, "parse_special": special}
        found: list[int] = self.engine.ask("/tokenize", asked)["tokens"]
        return found

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        return str(self.engine.ask("/detokenize", {"tokens": list(tokens)})["content"])

    def prompt_tokens(self, asked: Asked) -> tuple[list[list[int]], tuple[str, ...]]:
        """Return the tokens of each prompt, and strings that end an answer besides those that the request names."""
        prompts, stops = prompts_of(asked, self.template, self.render, self.tokens_of)
        return [tokens or self.tokens_of("", special=True) or [0] for tokens in prompts], stops

    def pieces(
        self,
        tokens: Sequence[int],
        stops: tuple[str, ...],
        asked: Asked,
        seed: int | None,
        check: Callable[[], None],
    ) -> Iterator[Piece]:
        """Yield one answer piece by piece; the last piece has a `finish`."""
        room = self.context - len(tokens)
        body: dict[str, Any] = {
            **asked.sampling,
            "max_tokens": min(asked.most or room, room),
            "stop": list(stops),
            "cache_prompt": not asked.afresh,
        }
        if seed is not None:
            body["seed"] = seed
        if asked.biases:
            body["logit_bias"] = [[token, bias] for token, bias in asked.biases.items()]
        if asked.grammar is not None:
            body["grammar"] = asked.grammar
        if asked.logprobs is not None:
            body["n_probs"] = max(asked.logprobs, 1)
        for event in self._events(tokens, body):
            check()
            if "prompt_progress" in event:
                continue
            finish = ("length" if event.get("stop_type") == "limit" else "stop") if event["stop"] else None
            chances = _chances(event, asked.logprobs or 0) if asked.logprobs is not None else ()
            yield Piece(
                text=event["content"], chances=chances, finish=finish, tokens=int(event.get("tokens_predicted", 0))
            )

    def _events(self, tokens: Sequence[int], options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the engine's events of an answer; options are named as llama-cpp-python names them."""
        body: dict[str, Any] = {_NAMES.get(name, name): value for name, value in options.items()}
        body |= {"prompt": list(tokens), "return_progress": True}
        if self.ends:
            body["return_tokens"] = True
        self.n_tokens = len(tokens)
        untold: list[int] = []  # tokens whose text the engine holds back: it may begin a stop string
        for event in self.engine.events("/completion", body):
            self.n_tokens = len(tokens) + int(event.get("tokens_predicted", 0))
            made = event.get("tokens", ())
            if not self.ends.isdisjoint(made):
                rest = self.text_of(untold) if untold else ""
                yield {**event, "content": rest, "stop": True, "stop_type": "eos", "completion_probabilities": []}
                return
            untold = [] if event.get("content") else [*untold, *made]
            yield event

    def create_completion(self, text: str, *, stream: bool, **sampling: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - as llama_cpp.Llama
        """Yield the parts of a completion, as the runner reads them."""
        del stream  # it always is
        for said, finish in self._answer(self.tokens_of(text, special=True), (), sampling):
            yield {"choices": [{"text": said, "finish_reason": finish}]}

    def create_chat_completion(
        self,
        messages: list[dict[str, Any]],
        *,
        stream: bool,
        **sampling: Any,  # noqa: ANN401 - as llama_cpp.Llama
    ) -> Iterator[dict[str, Any]]:
        """Yield the parts of an answer, as the runner reads them."""
        del stream
        made = self.render(messages=messages, tools=None)
        stops = [made.stop] if isinstance(made.stop, str) else made.stop or []
        tokens = self.tokens_of(made.prompt, special=not made.added_special)
        for said, finish in self._answer(tokens, tuple(filter(None, stops)), sampling):
            yield {"choices": [{"delta": {"content": said}, "finish_reason": finish}]}

    def _answer(
        self, tokens: list[int], stops: tuple[str, ...], sampling: Mapping[str, Any]
    ) -> Iterator[tuple[str, str | None]]:
        """Yield texts, and at the end why it ended.

        Raises:
            ValueError: The prompt leaves no room for an answer.
        """
        if len(tokens) >= self.context:
            raise ValueError(f"Requested tokens ({len(tokens)}) exceed context window of {self.context}")
        own = sampling.get("stop") or ()
        most = sampling.get("max_tokens") or -1
        body = {
            "seed": self.seed,
            **sampling,
            "max_tokens": most,
            "stop": [*stops, *((own,) if isinstance(own, str) else own)],
        }
        for event in self._events(tokens, body):
            if "prompt_progress" in event:
                self.progress(event["prompt_progress"]["processed"], event["prompt_progress"]["total"])
                continue
            finish = ("length" if event.get("stop_type") == "limit" else "stop") if event["stop"] else None
            yield event["content"], finish

    def embed(self, texts: Sequence[str], **_: bool) -> tuple[list[list[float]], int]:
        """Return the vectors of texts, of length 1, and how many tokens they have.

        Raises:
            ValueError: A text is longer than a batch.
        """
        vectors, count = [], 0
        for text in texts:
            self._require_room(len(self.tokens_of(text, special=True)))
            found = self.engine.ask("/v1/embeddings", {"input": text})
            vectors.append(found["data"][0]["embedding"])
            count += int(found["usage"]["prompt_tokens"])
        return vectors, count

    def vector(self, text: str) -> tuple[list[float], int]:
        """Return the vector of a text, and how many tokens it has."""
        vectors, count = self.embed([text])
        return vectors[0], count

    def rank(self, query: str, document: str) -> tuple[float, int]:
        """Return the score of a document for a query, and how many tokens they have together."""
        self._require_room(len(self.tokens_of(query, special=True)) + len(self.tokens_of(document, special=True)))
        found = self.engine.ask("/v1/rerank", {"query": query, "documents": [document]})
        return float(found["results"][0]["relevance_score"]), int(found["usage"]["prompt_tokens"])

    def _require_room(self, tokens: int) -> None:
        if tokens > self.context:
            raise ValueError(f"Requested tokens ({tokens}) exceed context window of {self.context}")


def renderer(
    runner: Any,  # noqa: ANN401 - a module that is known at run time
    template: str,
    tokens: Mapping[str, str],
    variables: Mapping[str, Any],
) -> Callable[..., Prompt]:
    """Return what makes a prompt of a conversation, within the runner's budget for templates.

    Args:
        runner: The runner's module.
        template: The chat template; empty for none.
        tokens: `eos_token` and `bos_token`, as text.
        variables: What templates see besides.
    """
    if not template:
        return lambda messages, **_: Prompt(runner.as_given(messages))
    if "{" not in template:

        def refuse(**_: object) -> Prompt:
            raise runner.TemplateError(
                f"the chat template is {template[:80]!r}: xllamacpp needs a template, not the name of one of llama.cpp's"
            )

        return refuse
    formats = SimpleNamespace(Jinja2ChatFormatter=ChatTemplate)
    runner.bound_templates(SimpleNamespace(llama_chat_format=formats), variables=variables)
    made: Callable[..., Prompt] = ChatTemplate(template=template, **tokens)
    return made
