"""llama-cpp-python's own server on a bundle: `python -I -m lftool_llamacpp.server RUNNER BUNDLE [OPTIONS]`.

For machines without a native runtime. The runner's functions have the weights mapped where they lie; what the run contract
says is put into requests that do not say otherwise. It answers one request at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import json
import os
import signal
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import TYPE_CHECKING, Any

from attrs import define, field

from lftool_llamacpp.gate import REFUSAL, is_from_elsewhere

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_REALS = ("temperature", "top_p", "min_p", "repeat_penalty")
_WHOLE = ("top_k", "max_tokens", "seed")
_CHAT = "/v1/chat/completions"
_COMPLETIONS = "/v1/completions"
_MOST = 16 * 1024 * 1024  # bytes of a request
_STOP_SECONDS = 5


def with_contract(body: dict[str, Any], contract: dict[str, Any], *, chat: bool) -> dict[str, Any]:
    """Return a request with what the run contract says where it says nothing itself."""
    defaults: dict[str, Any] = {name: float(contract[name]) for name in _REALS if name in contract}
    defaults |= {name: contract[name] for name in _WHOLE if name in contract}
    if contract.get("stop"):
        defaults["stop"] = contract["stop"]
    if "max_completion_tokens" in body:
        defaults["max_tokens"] = body["max_completion_tokens"]
    made = {**defaults, **{name: value for name, value in body.items() if value is not None}}
    wanted = made.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and isinstance(wanted.get("json_schema"), dict):
        # what OpenAI's clients send; llama-cpp-python has another name for it
        made["response_format"] = {"type": "json_object", "schema": wanted["json_schema"].get("schema", {})}
    messages = made.get("messages")
    if chat and contract.get("system") and isinstance(messages, list):
        roles = {message.get("role") for message in messages if isinstance(message, dict)}
        if not roles & {"system", "developer"}:
            made["messages"] = [{"role": "system", "content": contract["system"]}, *messages]
    return made


@define
class Counters:
    """What `/metrics` tells, in the names of llama-server where it has them."""

    started: float = field(factory=time.monotonic)
    requests: int = 0
    failed: int = 0
    running: int = 0

    def text(self) -> str:
        """Return it in the text format of Prometheus."""
        values = {
            "lftool_requests_total": ("counter", self.requests),
            "lftool_requests_failed_total": ("counter", self.failed),
            "llamacpp:requests_processing": ("gauge", self.running),
            "lftool_uptime_seconds": ("gauge", round(time.monotonic() - self.started, 3)),
        }
        return "".join(f"# TYPE {name} {kind}\n{name} {value}\n" for name, (kind, value) in values.items())


@define
class Contract:
    """ASGI middleware: requests get what the contract says, and are counted; health and metrics are answered."""

    app: Any
    contract: dict[str, Any]
    key: str | None = None
    local_only: bool = False
    counters: Counters = field(factory=Counters)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope.get("path", "")
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self.local_only and is_from_elsewhere(_header(scope, b"host"), _header(scope, b"origin")):
            await _refuse(send, REFUSAL, 403)
        elif path in {"/health", "/v1/health"}:
            await _answer(send, b'{"status":"ok"}', b"application/json")
        elif scope["method"] != "OPTIONS" and not self._may_see(scope):
            await _refuse(send, "Invalid API key", 401)
        elif path == "/metrics":
            await _answer(send, self.counters.text().encode(), b"text/plain; version=0.0.4")
        elif path in {_CHAT, _COMPLETIONS} and scope["method"] == "POST":
            await self._complete(scope, receive, send, chat=path == _CHAT)
        else:
            await self.app(scope, receive, send)

    def _may_see(self, scope: Scope) -> bool:
        given = _header(scope, b"authorization").encode("latin-1")
        return self.key is None or hmac.compare_digest(given, f"Bearer {self.key}".encode())

    async def _complete(self, scope: Scope, receive: Receive, send: Send, *, chat: bool) -> None:
        data, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            data, more = data + message.get("body", b""), message.get("more_body", False)
            if len(data) > _MOST:
                await _refuse(send, "the request is too large", 413)
                return
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            await _refuse(send, "the request is no JSON object", 400)
            return
        data = json.dumps(with_contract(body, self.contract, chat=chat)).encode()
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        scope = {**scope, "headers": [*headers, (b"content-length", str(len(data)).encode())]}
        await self._counted(scope, _replay(data, receive), send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watch(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:  # noqa: PLR2004 - HTTP
                self.counters.failed += 1
            await send(message)

        self.counters.requests += 1
        self.counters.running += 1
        try:
            await self.app(scope, receive, watch)
        finally:
            self.counters.running -= 1


def _replay(data: bytes, receive: Receive) -> Receive:
    """Return what delivers a whole body once, and then whatever comes: that the client has gone."""
    left = [{"type": "http.request", "body": data, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return left.pop() if left else await receive()

    return again


def _header(scope: Scope, name: bytes) -> str:
    """Return a header of a request; empty where it has none, or the last of several."""
    value: bytes = dict(scope["headers"]).get(name, b"")
    return value.decode("latin-1")


async def _refuse(send: Send, message: str, status: int) -> None:
    await _answer(send, json.dumps({"error": {"message": message}}).encode(), b"application/json", status)


async def _answer(send: Send, body: bytes, kind: bytes, status: int = 200) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _load(path: str) -> Any:  # noqa: ANN401 - a module that is known at run time
    loader = SourceFileLoader("lftool_runner", path)
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None  # noqa: S101 - a loader was given
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def _options(runner: Any) -> argparse.Namespace:  # noqa: ANN401 - likewise
    parser = argparse.ArgumentParser(prog="lftool serve", allow_abbrev=False)
    parser.add_argument("runner")
    parser.add_argument("bundle")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--insecure", action="store_true")
    parser.add_argument("--embeddings", action="store_true")
    runner.add_devices(parser)
    return parser.parse_args()


def main() -> None:
    """Serve until told to stop."""
    runner = _load(sys.argv[1])
    options = _options(runner)
    bundle = runner.Bundle(options.bundle)
    try:
        import uvicorn  # noqa: PLC0415 - not everybody has it
        from llama_cpp.server.app import create_app
        from llama_cpp.server.settings import ModelSettings, ServerSettings
    except ImportError as error:
        sys.stderr.write(f"{bundle.name}: serving with llama-cpp-python needs {error.name}\n")
        sys.stderr.write("  hint: pip install 'lftool-llamacpp[server]', or compile a runtime: lftool runtime build\n")
        sys.exit(8)
    llama_cpp, adapt = runner.load_in_place(bundle)
    told = runner.offload(bundle, llama_cpp, options)
    key = os.environ.get("LLAMA_API_KEY") or None
    with _no_environment():  # of which the settings would take whatever has a name of theirs
        settings = ModelSettings(
            model=bundle.path,
            model_alias=bundle.manifest["name"],
            n_ctx=bundle.contract.get("context", 0),
            seed=bundle.contract.get("seed", 0),
            verbose=False,
            embedding=options.embeddings,
            **told,
        )
        server = ServerSettings(
            host=options.host,
            port=options.port,
            api_key=key,
            interrupt_requests=False,  # otherwise a new request ends the one that is being answered
        )
    made = llama_cpp.Llama.__init__

    def loading(self: Any, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 - llama_cpp's own
        if options.embeddings:
            keywords["pooling_type"] = llama_cpp.LLAMA_POOLING_TYPE_MEAN
        made(self, *arguments, **keywords)
        adapt(self)

    llama_cpp.Llama.__init__ = loading
    os.environ.pop("CONFIG_FILE", None)
    app = create_app(server_settings=server, model_settings=[settings])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn stops, and then raises the signal again
    uvicorn.run(
        Contract(app, bundle.contract, key, local_only=key is None and not options.insecure),
        host=options.host,
        port=options.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


@contextlib.contextmanager
def _no_environment() -> Iterator[None]:
    kept = dict(os.environ)
    os.environ.clear()
    try:
        yield
    finally:
        os.environ.update(kept)


def run() -> None:
    """Serve, and say in one line what went wrong."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
    except Exception as error:  # of llama-cpp-python: a model that it does not know
        if os.environ.get("LFTOOL_TRACEBACK"):
            raise
        name = os.environ.get("LFTOOL_BUNDLE", sys.argv[2] if len(sys.argv) > 2 else "bundle")  # noqa: PLR2004 - argv
        sys.stderr.write(f"{name}: {str(error) or type(error).__name__}\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
