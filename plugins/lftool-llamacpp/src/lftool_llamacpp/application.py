"""The Python server as an ASGI application: a few documented paths on one model, everything bounded, no prompt logged.

One request at a time works on the model; the others wait in a line of bounded length. An answer is made on a thread of its
own and stops between two tokens once its client has gone, or the server is told to stop.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field

from lftool_llamacpp.gate import REFUSAL, is_allowed, is_from_elsewhere
from lftool_llamacpp.page_files import HEADERS, PageFile, page_files
from lftool_llamacpp.replies import Reply
from lftool_llamacpp.requests import (
    BadRequestError,
    Limits,
    chat_asked,
    completion_asked,
    embedding_inputs,
    given_text,
    given_tokens,
    parse_body,
    ranking,
    with_contract,
    with_grammar,
)
from lftool_llamacpp.token_stream import ServedModel
from lftool_llamacpp.work import Work, refusal_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Answer = Callable[[asyncio.Queue[Any], asyncio.Future[None], Send], Awaitable[None]]

MOST_BODY_BYTES = 16 * 1024 * 1024
MOST_WAITING = 128  # requests in line
BODY_SECONDS = 30.0  # within which a body must be there
SLOW_CLIENT_SECONDS = 30.0  # for which a client may take nothing of its answer
RETRY_SECONDS = 2
_MODELS = "/v1/models/"


@define
class Counters:
    """What `/metrics` tells, in the names of llama-server where it has them."""

    started: float = field(factory=time.monotonic)
    requests: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    tokens: int = 0

    def text(self) -> str:
        """Return it in the text format of Prometheus."""
        values = {
            "lftool_requests_total": ("counter", self.requests),
            "lftool_requests_failed_total": ("counter", self.failed),
            "llamacpp:tokens_predicted_total": ("counter", self.tokens),
            "llamacpp:requests_processing": ("gauge", self.running),
            "llamacpp:requests_deferred": ("gauge", self.waiting),
            "lftool_uptime_seconds": ("gauge", round(time.monotonic() - self.started, 3)),
        }
        return "".join(f"# TYPE {name} {kind}\n{name} {value}\n" for name, (kind, value) in values.items())


class _GoneError(Exception):
    """The client has gone, or takes nothing."""


@define
class Application:
    """ASGI application.

    Attributes:
        model: What answers are made of.
        name: What it is called.
        contract: The bundle's run contract.
        limits: What the model bounds.
        about: What the chat page tells of the bundle.
        embed: Returns the vector of a text and its number of tokens, where the model makes vectors and nothing else.
        rank: Returns the score of a document for a query and their number of tokens, where the model ranks.
        key: What clients must send; None for no key.
        grammar: What the run contract holds answers to, unless a request says what an answer is; None for any text.
        local_only: Whether only this machine and its own pages may ask.
    """

    model: ServedModel
    name: str
    contract: dict[str, Any]
    limits: Limits
    about: dict[str, Any] = field(factory=dict)
    embed: Callable[[str], tuple[list[float], int]] | None = None
    rank: Callable[[str, str], tuple[float, int]] | None = None
    key: str | None = None
    grammar: str | None = None
    local_only: bool = False
    counters: Counters = field(factory=Counters)
    stopping: threading.Event = field(factory=threading.Event)
    _turn: asyncio.Lock = field(factory=asyncio.Lock)
    _page: dict[str, PageFile] = field(factory=page_files)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        self.counters.requests += 1
        try:
            await self._routed(scope, receive, send)
        except BadRequestError as error:
            await self._refuse(send, error)
        except _GoneError:
            pass

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope.get("path", ""), scope["method"]
        if self.local_only and is_from_elsewhere(_all(scope, b"host"), _all(scope, b"origin")):
            raise BadRequestError(REFUSAL, status=403)
        if path in {"/health", "/v1/health"} and method in {"GET", "HEAD"}:
            await _answer(send, b'{"status":"ok"}')
            return
        if method in {"GET", "HEAD"} and (file := self._page.get(path)) is not None:
            await _answer(send, file.data, file.kind, more=[*HEADERS])
            return
        if not is_allowed(_all(scope, b"authorization"), self.key, hmac.compare_digest):
            raise BadRequestError("Invalid API key", status=401, code="invalid_api_key")
        answers = {
            ("GET", "/metrics"): self._metrics,
            ("GET", "/lftool.json"): self._about,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._complete,
            ("POST", "/v1/embeddings"): self._embed,
            ("POST", "/v1/rerank"): self._rank,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
        }
        found = answers.get((method, path))
        if found is None and method == "GET" and path.startswith(_MODELS):
            found = self._one_model
        if found is None:
            known = any(path == other for _, other in answers)
            raise BadRequestError(f"there is no {method} {path[:200]}", status=405 if known else 404)
        await found(scope, receive, send)

    async def _metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await _answer(send, self.counters.text().encode(), b"text/plain; version=0.0.4")

    async def _about(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await _answer(send, json.dumps(self.about).encode())

    def _entry(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": 0, "owned_by": "lftool"}

    async def _models(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await _answer(send, json.dumps({"object": "list", "data": [self._entry()]}).encode())

    async def _one_model(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        asked = scope["path"].removeprefix(_MODELS)
        if asked != self.name:
            raise BadRequestError(
                f"there is no model {asked[:200]}; {self.name} is served", status=404, code="model_not_found"
            )
        await _answer(send, json.dumps(self._entry()).encode())

    async def _tokenize(self, scope: Scope, receive: Receive, send: Send) -> None:
        text, special = given_text(await self._body(scope, receive))
        tokens = await asyncio.to_thread(self.model.tokens_of, text, special=special)
        await _answer(send, json.dumps({"tokens": tokens}).encode())

    async def _detokenize(self, scope: Scope, receive: Receive, send: Send) -> None:
        tokens = given_tokens(await self._body(scope, receive), self.limits)
        text = await asyncio.to_thread(self.model.text_of, tokens)
        await _answer(send, json.dumps({"content": text}).encode())

    async def _body(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        """Return a request's JSON object, which arrives within its size and its time."""
        announced = _all(scope, b"content-length")
        if announced and announced[0].isdigit() and int(announced[0][:20]) > MOST_BODY_BYTES:
            raise BadRequestError("the request is too large", status=413)
        pieces: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _GoneError
                    piece = message.get("body", b"")
                    size, more = size + len(piece), message.get("more_body", False)
                    pieces.append(piece)
                    if size > MOST_BODY_BYTES:
                        raise BadRequestError("the request is too large", status=413)
        except TimeoutError:
            raise BadRequestError("the request did not arrive in time", status=408) from None
        return parse_body(b"".join(pieces))

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._generate(scope, receive, send, chat=True)

    async def _complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._generate(scope, receive, send, chat=False)

    async def _generate(self, scope: Scope, receive: Receive, send: Send, *, chat: bool) -> None:
        if self.rank is not None:
            raise BadRequestError("this model ranks documents and makes no text: ask /v1/rerank", status=404)
        if self.embed is not None:
            raise BadRequestError("this model makes embeddings and no text", status=404)
        body = await self._body(scope, receive)
        own_seed = body.get("seed") is not None
        told = with_contract(body, self.contract, chat=chat)
        asked = (chat_asked if chat else completion_asked)(told, self.limits, seed_is_own=own_seed)
        asked = with_grammar(asked, body, self.grammar)
        work = Work(self.stopping)
        reply = Reply(model=self.model, name=self.name, asked=asked, check=work.check, count=self._count)
        work.make = reply.events if asked.stream else reply.whole
        await self._in_turn(receive, send, work, self._send_stream if asked.stream else self._send_whole)

    def _count(self, tokens: int) -> None:
        self.counters.tokens += tokens

    async def _embed(self, scope: Scope, receive: Receive, send: Send) -> None:
        embed = self.embed
        if embed is None:
            raise BadRequestError("this model makes text and no embeddings", status=404)
        body = await self._body(scope, receive)
        texts = embedding_inputs(body)
        packed = body.get("encoding_format") == "base64"

        def make() -> Iterator[Any]:
            for text in texts:
                yield embed(text)

        async def answer(pieces: asyncio.Queue[Any], gone: asyncio.Future[None], send: Send) -> None:
            await self._send_embeddings(pieces, gone, send, packed=packed)

        await self._in_turn(receive, send, Work(self.stopping, make), answer)

    async def _in_turn(self, receive: Receive, send: Send, work: Work, answer: Answer) -> None:
        """Wait for the model, make an answer, and send it; stop when the client goes."""
        if self.counters.waiting >= MOST_WAITING or self.stopping.is_set():
            raise BadRequestError("the server is busy", status=503, code="busy")
        gone = asyncio.ensure_future(_left(receive))
        try:
            await self._wait_for_turn(gone)
            try:
                self.counters.running += 1
                await answer(work.start(asyncio.get_running_loop()), gone, send)
            finally:
                work.stop()
                await work.ended()
                self.counters.running -= 1
                self._turn.release()
        finally:
            gone.cancel()

    async def _wait_for_turn(self, gone: asyncio.Future[None]) -> None:
        self.counters.waiting += 1
        turn: asyncio.Future[Any] = asyncio.ensure_future(self._turn.acquire())
        try:
            await asyncio.wait([turn, gone], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._give_back(turn)
            raise
        finally:
            self.counters.waiting -= 1
        if gone.done():
            self._give_back(turn)
            raise _GoneError

    def _give_back(self, turn: asyncio.Future[Any]) -> None:
        """Let go of a turn that was waited for, whether or not it has come."""
        if turn.done() and not turn.cancelled():
            self._turn.release()
        else:
            turn.cancel()

    async def _next(self, pieces: asyncio.Queue[Any], gone: asyncio.Future[None]) -> Any:  # noqa: ANN401 - a piece, or None at the end
        item = asyncio.ensure_future(pieces.get())
        await asyncio.wait({item, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not item.done():
            item.cancel()
            raise _GoneError
        found = item.result()
        if isinstance(found, BaseException):
            raise refusal_of(found)
        return found

    async def _send_stream(self, pieces: asyncio.Queue[Any], gone: asyncio.Future[None], send: Send) -> None:
        first = await self._next(pieces, gone)  # what is wrong with a request shows before the answer begins
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        piece = first
        try:
            while piece is not None:
                await _sent(send, f"data: {json.dumps(piece)}\n\n".encode(), more=True)
                piece = await self._next(pieces, gone)
        except BadRequestError as error:
            self.counters.failed += 1
            await _sent(send, f"data: {json.dumps(_error_body(error))}\n\n".encode(), more=True)
        await _sent(send, b"data: [DONE]\n\n", more=False)

    async def _send_whole(self, pieces: asyncio.Queue[Any], gone: asyncio.Future[None], send: Send) -> None:
        await _answer(send, json.dumps(await self._next(pieces, gone)).encode())

    async def _send_embeddings(
        self, pieces: asyncio.Queue[Any], gone: asyncio.Future[None], send: Send, *, packed: bool
    ) -> None:
        data: list[dict[str, Any]] = []
        tokens = 0
        while (piece := await self._next(pieces, gone)) is not None:
            vector, count = piece
            shown: Any = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if packed else vector
            data.append({"object": "embedding", "index": len(data), "embedding": shown})
            tokens += count
        told = {"prompt_tokens": tokens, "total_tokens": tokens}
        await _answer(send, json.dumps({"object": "list", "data": data, "model": self.name, "usage": told}).encode())

    async def _rank(self, scope: Scope, receive: Receive, send: Send) -> None:
        rank = self.rank
        if rank is None:
            raise BadRequestError("this model ranks no documents", status=404)
        asked = ranking(await self._body(scope, receive))
        work = Work(self.stopping)

        def make() -> Iterator[Any]:
            for document in asked.documents:
                work.check()
                yield rank(asked.query, document)

        async def answer(pieces: asyncio.Queue[Any], gone: asyncio.Future[None], send: Send) -> None:
            found: list[dict[str, Any]] = []
            tokens = 0
            while (piece := await self._next(pieces, gone)) is not None:
                score, count = piece
                found.append({"index": len(found), "relevance_score": score})
                tokens += count
            best = sorted(found, key=lambda one: -one["relevance_score"])[: asked.most]
            told = {"prompt_tokens": tokens, "total_tokens": tokens}
            await _answer(
                send, json.dumps({"model": self.name, "object": "list", "usage": told, "results": best}).encode()
            )

        work.make = make
        await self._in_turn(receive, send, work, answer)

    async def _refuse(self, send: Send, error: BadRequestError) -> None:
        self.counters.failed += 1
        more = [(b"retry-after", str(RETRY_SECONDS).encode())] if error.status == 503 else []  # noqa: PLR2004 - HTTP
        if error.status in {408, 413}:
            more.append((b"connection", b"close"))
        await _answer(send, json.dumps(_error_body(error)).encode(), status=error.status, more=more)


def _error_body(error: BadRequestError) -> dict[str, Any]:
    kind = "server_error" if error.status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def _all(scope: Scope, name: bytes) -> list[str]:
    """Return every value of a header."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


async def _left(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _sent(send: Send, body: bytes, *, more: bool) -> None:
    """Send a piece, which the client takes within its time."""
    try:
        async with asyncio.timeout(SLOW_CLIENT_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": more})
    except TimeoutError:
        raise _GoneError from None


async def _answer(
    send: Send,
    body: bytes,
    kind: bytes = b"application/json",
    status: int = 200,
    more: list[tuple[bytes, bytes]] | None = None,
) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await _sent(send, body, more=False)
