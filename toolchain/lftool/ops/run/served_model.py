"""Serve a bundle on this machine, and ask it questions."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.api import ServeOptions
from lftool.errors import UnavailableError
from lftool.ops.run.prepare import confined, prepare_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lftool.store.store import Store

_LOAD_SECONDS = 600.0
_ANSWER_SECONDS = 600.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05
_TAIL_LINES = 8
_OK = 200
_UNAUTHORIZED = 401
_MODELS = "/v1/models"
_STOPS = (signal.SIGINT, signal.SIGTERM)


@frozen(kw_only=True)
class Question:
    """A question to the model.

    Attributes:
        prompt: The text.
        raw: Whether to complete it as it is, without the chat template.
        max_tokens: Maximum tokens in the answer; None for the run contract's value.
        schema: A JSON Schema that constrains generation.
    """

    prompt: str
    raw: bool = False
    max_tokens: int | None = None
    schema: Any = None

    @property
    def path(self) -> str:
        """Path of the endpoint."""
        return "/v1/completions" if self.raw else "/v1/chat/completions"

    def body(self, *, stream: bool = False) -> dict[str, Any]:
        """Return the request body of the OpenAI API; tells llama-server not to reuse the previous prompt's cache."""
        made: dict[str, Any] = {"model": "model", "stream": stream, "cache_prompt": False}
        if self.raw:
            made["prompt"] = self.prompt
        else:
            made["messages"] = [{"role": "user", "content": self.prompt}]
        if self.max_tokens is not None:
            made["max_tokens"] = self.max_tokens
        if self.schema is not None:
            made["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": self.schema}}
        return made


class ServedModel:
    """A server on loopback.

    Attributes:
        sentence: What runs where: the runtime and its device.
    """

    def __init__(self, url: str, key: str) -> None:
        import httpx2

        self.sentence = ""
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx2.Client(base_url=url, timeout=_ANSWER_SECONDS, trust_env=False, headers=headers)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def is_ready(self) -> bool:
        """Return whether the model is loaded and the server, by its key, is ours; another may have taken the port."""
        import httpx2

        try:
            if self._client.get("/health").status_code != _OK:
                return False
            stranger = self._client.get(_MODELS, headers={"Authorization": "Bearer another"})
            return (stranger.status_code, self._client.get(_MODELS).status_code) == (_UNAUTHORIZED, _OK)
        except httpx2.TransportError:
            return False

    def _post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        with _transport_errors(path):
            answer = self._client.post(path, json=body)
        if answer.status_code != _OK:
            raise UnavailableError(f"the server returned HTTP {answer.status_code} for {path}: {answer.text[:300]}")
        return answer.json()

    def ask(self, question: Question) -> str:
        """Return the answer.

        Raises:
            UnavailableError: The server refused the request.
        """
        choice = self._post(question.path, question.body())["choices"][0]
        return str(choice["text"] if question.raw else choice["message"]["content"] or "")

    def first_token(self, question: Question) -> float:
        """Return the time in seconds until the first piece of an answer arrives.

        Raises:
            UnavailableError: There is no answer.
        """
        started = time.perf_counter()
        with (
            _transport_errors(question.path),
            self._client.stream("POST", question.path, json=question.body(stream=True)) as answer,
        ):
            for line in answer.iter_lines():
                if line.startswith("data: {") and _has_text(json.loads(line.removeprefix("data: "))):
                    return time.perf_counter() - started
        raise UnavailableError(f"the server sent no token for {question.path}")

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the embeddings of texts.

        Raises:
            UnavailableError: The server does not provide embeddings.
        """
        found = self._post("/v1/embeddings", {"model": "model", "input": list(texts)})["data"]
        made = [item["embedding"] for item in sorted(found, key=lambda item: item["index"])]
        if any(not isinstance(number, float | int) for vector in made for number in vector):
            raise UnavailableError("the server returned embeddings that are not numbers")
        return made

    def rank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the scores of documents for a query.

        Raises:
            UnavailableError: The server does not rank.
        """
        asked = {"model": "model", "query": query, "documents": list(documents)}
        found = sorted(self._post("/v1/rerank", asked)["results"], key=lambda item: item["index"])
        scores = [item["relevance_score"] for item in found]
        if len(scores) != len(documents) or any(not isinstance(score, float | int) for score in scores):
            raise UnavailableError("the server returned scores that are not numbers, or not all of them")
        return scores


@contextlib.contextmanager
def _transport_errors(path: str) -> Iterator[None]:
    """Turn a broken connection or a missing response into an UnavailableError."""
    import httpx2

    try:
        yield
    except httpx2.TransportError as error:
        raise UnavailableError(f"the server did not respond to {path}: {str(error) or type(error).__name__}") from error


def _has_text(event: dict[str, Any]) -> bool:
    choices = event.get("choices") or [{}]
    return bool(choices[0].get("text") or (choices[0].get("delta") or {}).get("content"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def served(path: Path, store: Store, backend: str | None, *, embeddings: bool = False) -> Iterator[ServedModel]:
    """Serve a bundle during the block.

    Args:
        path: The bundle, whose integrity is checked first.
        store: Remembers checked bundles.
        backend: The backend; None for the bundle's own.
        embeddings: Make embeddings instead of answers.

    Raises:
        UnavailableError: The server does not start; the message has the end of its output.
        LftoolError: What `lftool serve` raises.
    """
    port = _free_port()
    key = secrets.token_hex(16)
    model = ServedModel(f"http://127.0.0.1:{port}", key)
    ready = prepare_run(path, None, store, backend, ServeOptions(port=port, embeddings=embeddings))
    model.sentence = ready.command.sentence
    environment = {**os.environ, "LFTOOL_BUNDLE": str(path), **ready.command.environment, "LLAMA_API_KEY": key}
    with contextlib.ExitStack() as stack:  # anything that ends this, even a signal, stops the server
        stack.callback(model.close)
        log = stack.enter_context(tempfile.TemporaryFile())
        started: list[subprocess.Popen[bytes]] = []
        stack.callback(_stop, started)
        with _signals_held():
            started.append(
                subprocess.Popen(
                    confined(ready),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    pass_fds=[ready.descriptor],
                )
            )
        os.close(ready.descriptor)
        deadline = time.monotonic() + _LOAD_SECONDS
        while not model.is_ready():
            if started[0].poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                tail = log.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
                raise UnavailableError("\n".join([f"{path.name} cannot be served; its last output:", *tail]))
            time.sleep(_POLL_SECONDS)
        yield model


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM handlers while a process starts, since nothing could stop it yet."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {stop: signal.signal(stop, lambda number, _: came.append(number)) for stop in _STOPS}
    try:
        yield
    finally:
        for stop, handler in before.items():
            signal.signal(stop, signal.SIG_DFL if handler is None else handler)
        for number in came:
            signal.raise_signal(number)


def _stop(started: list[subprocess.Popen[bytes]]) -> None:
    for process in started:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
