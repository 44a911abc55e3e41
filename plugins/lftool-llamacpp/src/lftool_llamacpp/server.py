"""The Python server of a bundle: `python -I -m lftool_llamacpp.server RUNNER BUNDLE [OPTIONS]`.

For machines without a native runtime. The runner's functions have the weights mapped where they lie; what the run contract
says is put into requests that do not say otherwise. It answers one request at a time. Another engine calls `run` with a
function that loads models its own way.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool_llamacpp.application import Application
from lftool_llamacpp.loaded_model import LoadedModel
from lftool_llamacpp.requests import Limits, held_to
from lftool_llamacpp.token_stream import ServedModel

if TYPE_CHECKING:
    import asyncio

_STOP_SECONDS = 5  # within which a stop ends what is under way
_HEADER_SECONDS = 10.0  # within which a client must have sent the head of its request
_MOST_CONNECTIONS = 512
_MOST_HEAD_BYTES = 64 * 1024


@frozen(kw_only=True)
class Served:
    """A model in memory.

    Attributes:
        model: Answers requests.
        kind: What it does: `generates`, `embeds` or `ranks`.
        template: The chat template; empty for none.
        limits: What it bounds.
        embed: Returns the vector of a text and its number of tokens.
        rank: Returns the score of a document for a query and their number of tokens.
    """

    model: ServedModel
    kind: str
    template: str
    limits: Limits
    embed: Callable[[str], tuple[list[float], int]]
    rank: Callable[[str, str], tuple[float, int]]


def load_script(path: str) -> Any:  # noqa: ANN401 - a module that is known at run time
    """Return the runner, which is a script, as a module."""
    loader = SourceFileLoader("lftool_runner", path)
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None  # noqa: S101 - a loader was given
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def _options(runner: Any) -> argparse.Namespace:  # noqa: ANN401 - as above
    parser = argparse.ArgumentParser(prog="lftool serve", allow_abbrev=False)
    parser.add_argument("runner")
    parser.add_argument("bundle")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--insecure", action="store_true")
    parser.add_argument("--embeddings", action="store_true")
    runner.add_options(parser, {})
    return parser.parse_args()


def _limits(model: Any) -> Limits:  # noqa: ANN401 - llama_cpp.Llama
    """Return what a model bounds."""
    import llama_cpp
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    vocabulary = llama_cpp.llama_model_get_vocab(model.model)

    def compiles(grammar: str) -> bool:
        sampler = llama_cpp.llama_sampler_init_grammar(vocabulary, grammar.encode(), b"root")
        if not sampler:
            return False
        llama_cpp.llama_sampler_free(sampler)
        return True

    return Limits(vocabulary=model.n_vocab(), grammar=json_schema_to_gbnf, compiles=compiles)


def _loaded(runner: Any, bundle: Any, options: argparse.Namespace) -> Served:  # noqa: ANN401 - as above
    """Return the model, loaded with llama-cpp-python."""
    model, kind = runner.load(bundle, options, embeddings=options.embeddings)
    template = model.metadata.get("tokenizer.chat_template", "")
    loaded = LoadedModel(model, model.chat_formatter, template)
    runner.interruptible(model, loaded.check)
    return Served(
        model=loaded,
        kind=kind,
        template=template,
        limits=_limits(model),
        embed=partial(runner.embed, model),
        rank=partial(runner.rank, model),
    )


def _about(bundle: Any, kind: str, context: int) -> dict[str, Any]:  # noqa: ANN401 - the runner's Bundle
    """Return what the chat page tells; native/page.cpp has the same."""
    manifest = bundle.manifest
    return {
        "name": manifest["name"],
        "version": manifest.get("version", ""),
        "license": manifest.get("license", ""),
        "signature": os.environ.get("LFTOOL_SIGNATURE", "signature not looked at"),
        "system": bundle.contract.get("system", ""),
        "context": context,
        "does": kind,
    }


def _impatient(protocol: Any) -> Any:  # noqa: ANN401 - uvicorn's class of connections
    """Return a class of connections that ends those whose client does not finish the head of a request."""

    class Impatient(protocol):  # type: ignore[misc]  # a class that is known at run time
        waiting: asyncio.TimerHandle | None = None

        def _watch(self) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self.waiting is None:
                self.waiting = self.loop.call_later(_HEADER_SECONDS, self._give_up)
            elif not idle and self.waiting is not None:
                self.waiting.cancel()
                self.waiting = None

        def _give_up(self) -> None:
            self.waiting = None
            if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
                self.transport.close()

        def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, error: Exception | None) -> None:
            if self.waiting is not None:
                self.waiting.cancel()
            super().connection_lost(error)

    return Impatient


def main(load: Callable[[Any, Any, argparse.Namespace], Served] = _loaded) -> None:
    """Serve until told to stop.

    Args:
        load: Loads a model; called with the runner's module, its `Bundle`, and the options.
    """
    runner = load_script(sys.argv[1])
    options = _options(runner)
    bundle = runner.Bundle(options.bundle)
    runner.apply_options(bundle, options)
    try:
        import uvicorn  # noqa: PLC0415 - not everybody has it
        from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: PLC0415 - as above
    except ImportError as error:
        sys.stderr.write(f"{bundle.name}: serving without a native runtime needs {error.name}\n")
        sys.stderr.write("  hint: pip install 'lftool-llamacpp[server]', or compile a runtime: lftool runtime build\n")
        sys.exit(8)
    served = load(runner, bundle, options)
    grammar = held_to(bundle.contract, served.limits) if served.kind == "generates" else None
    if served.kind == "generates" and not served.template:
        sys.stderr.write(f"{bundle.name}: {runner.NO_TEMPLATE}\n")
    key = os.environ.get("LLAMA_API_KEY") or None
    application = Application(
        model=served.model,
        name=bundle.manifest["name"],
        contract=bundle.contract,
        limits=served.limits,
        about=_about(bundle, served.kind, served.model.context),
        embed=served.embed if served.kind == "embeds" else None,
        rank=served.rank if served.kind == "ranks" else None,
        key=key,
        grammar=grammar,
        local_only=key is None and not options.insecure,
    )
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            host=options.host,
            port=options.port,
            http=_impatient(H11Protocol),
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )
    handle = server.handle_exit

    def stop(sig: int, frame: Any) -> None:  # noqa: ANN401 - a signal handler
        # What is under way goes on for a while; then it is cut between two tokens.
        timer = threading.Timer(_STOP_SECONDS - 1, application.stopping.set)
        timer.daemon = True
        timer.start()
        handle(sig, frame)

    server.handle_exit = stop  # type: ignore[method-assign]  # uvicorn has no other way to hear of it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn stops, and then raises the signal again
    server.run()


def run(load: Callable[[Any, Any, argparse.Namespace], Served] = _loaded) -> None:
    """Serve, and say in one line what went wrong; the argument as of `main`."""
    try:
        main(load)
    except KeyboardInterrupt:
        sys.exit(0)
    except Exception as error:  # of the engine: a model that it does not know
        if os.environ.get("LFTOOL_TRACEBACK"):
            raise
        name = os.environ.get("LFTOOL_BUNDLE", sys.argv[2] if len(sys.argv) > 2 else "bundle")  # noqa: PLR2004 - argv
        sys.stderr.write(f"{name}: {str(error) or type(error).__name__}\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
