"""llama_cpp.Llama as the server uses it: prompts to tokens, tokens one after the other, and how likely they were."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from lftool_llamacpp.conversations import prompts_of
from lftool_llamacpp.token_stream import TokenChance, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lftool_llamacpp.conversations import Render
    from lftool_llamacpp.requests import Asked
    from lftool_llamacpp.token_stream import Piece


def _unchecked() -> None:
    """Let everything go on."""


class LoadedModel:
    """A model in memory, which does one thing at a time.

    Args:
        llama: `llama_cpp.Llama`.
        render: Makes a prompt of a conversation, as llama-cpp-python's chat formatters do.
        template: The chat template; empty for none.
    """

    def __init__(self, llama: Any, render: Render, template: str) -> None:  # noqa: ANN401 - llama_cpp.Llama
        self._llama, self._render, self._template = llama, render, template
        self._check = _unchecked
        evaluate = llama.eval

        def in_batches(tokens: list[int]) -> None:
            """Read a prompt batch by batch, so that it can be stopped."""
            for at in range(0, len(tokens), llama.n_batch):
                if at:
                    self._check()
                evaluate(tokens[at : at + llama.n_batch])

        llama.eval = in_batches

    def check(self) -> None:
        """Raise where nobody waits for the answer in the making; the engine asks while it reads a prompt."""
        self._check()

    @property
    def context(self) -> int:
        """How many tokens prompt and answer may have."""
        return self._llama.n_ctx()  # type: ignore[no-any-return]

    @property
    def chats(self) -> bool:
        """Whether there is a chat template; else what is said is completed as it is."""
        return bool(self._template)

    def prompt_tokens(self, asked: Asked) -> tuple[list[list[int]], tuple[str, ...]]:
        """Return the tokens of each prompt, and strings that end an answer besides those that the request names."""
        prompts, stops = prompts_of(asked, self._template, self._render, self.tokens_of)
        first = [max(self._llama.token_bos(), 0)]  # of an empty prompt
        return [tokens or first for tokens in prompts], stops

    def pieces(
        self,
        tokens: Sequence[int],
        stops: tuple[str, ...],
        asked: Asked,
        seed: int | None,
        check: Callable[[], None],
    ) -> Iterator[Piece]:
        """Yield one answer piece by piece; the last piece has a `finish`."""
        return answer(self, tokens, stops, asked, seed, check)

    def generate(
        self, tokens: Sequence[int], asked: Asked, seed: int | None, check: Callable[[], None]
    ) -> Iterator[int]:
        """Yield tokens without end; a prompt that begins as the one before is read from where it differs."""
        from llama_cpp import LlamaGrammar, LogitsProcessorList

        if asked.afresh:
            self._llama.reset()  # how a prompt is cut into batches shows in the last bits of its logits
        if seed is not None:
            self._llama.set_seed(seed)
        self._check = check
        try:
            yield from self._llama.generate(
                tokens,
                **asked.sampling,  # where it says nothing, llama.cpp's own defaults
                grammar=None if asked.grammar is None else LlamaGrammar.from_string(asked.grammar, verbose=False),
                logits_processor=LogitsProcessorList([_biased(asked.biases)]) if asked.biases else None,
            )
        finally:
            self._check = _unchecked

    def ends(self, token: int) -> bool:
        """Tell whether a token ends an answer."""
        import llama_cpp

        return bool(llama_cpp.llama_vocab_is_eog(self._llama._model.vocab, token))  # noqa: SLF001 - it tells in no other way

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token; of one that steers, none."""
        import llama_cpp

        buffer = ctypes.create_string_buffer(64)
        vocab = self._llama._model.vocab  # noqa: SLF001 - as above
        size = llama_cpp.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, False)  # noqa: FBT003 - a C function
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = llama_cpp.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, False)  # noqa: FBT003 - as above
        return buffer.raw[:size]

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")

    def likely(self, token: int, count: int) -> TokenChance:
        """Return how likely the token that came last was, and the `count` likeliest at its place."""
        import llama_cpp
        import numpy as np

        logits = np.ctypeslib.as_array(
            llama_cpp.llama_get_logits_ith(self._llama.ctx, -1), shape=(self._llama.n_vocab(),)
        )
        wide = logits.astype(np.float64)
        wide -= wide.max()
        wide -= np.log(np.exp(wide).sum())
        best = np.argsort(-wide, kind="stable")[:count]
        others = tuple((self.piece(int(at)), float(wide[at])) for at in best)
        return TokenChance(text=self.piece(token), logprob=float(wide[token]), others=others)

    def tokens_of(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text; `special` adds what the model wants at its begin and end."""
        return self._llama.tokenize(text.encode("utf-8", "replace"), add_bos=special, special=True)  # type: ignore[no-any-return]


def _biased(biases: Mapping[int, float]) -> Callable[[Any, Any], Any]:
    """Return a logits processor that adds to the logits of tokens."""

    def add(tokens: Any, scores: Any) -> Any:  # noqa: ANN401 - numpy arrays
        del tokens
        changed = scores.copy()
        for token, bias in biases.items():
            changed[token] += bias
        return changed

    return add
