"""xllamacpp's engine: llama.cpp's server in this process, asked through a socket in a folder that only the user can enter.

Its routes tell more than xllamacpp's own functions: tokens, the progress of a prompt, how likely tokens were. A socket needs no
port, which a confined process may not have.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import xllamacpp
from attrs import frozen

from lftool.api.gguf import GGML_TYPES
from lftool_llamacpp.newer_models import may_be_newer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BATCH = 512  # tokens of a prompt that are read at once; behind each, it can be stopped
_SECONDS = 3600.0  # a step of a slow prompt on a slow processor ends within it
_OK = 200
_ERROR_LINE = re.compile(r"\A\S+ E (?P<said>.*?)\r?\n\Z")
_FUNCTION = re.compile(r"\A\w+: (error loading model: )?(\w+: )?")
_NUMBERS = itertools.count()
_LONGEST_FOLDER = 80  # bytes: with its name, a socket's path has at most 103 (unix(7), and macOS)
_MOST_LOG_BYTES = 1 << 20  # that are looked at
_LOG_SECONDS, _LOOK_SECONDS = 2.0, 0.01


class EngineError(ValueError):
    """The engine refuses a request, or cannot load a model."""


_ROPE_SCALINGS = {"none": 0, "linear": 1, "yarn": 2}  # llama_rope_scaling_type in llama.h


@frozen(kw_only=True)
class Rope:
    """How positions are scaled; None for the model's way.

    Attributes:
        scaling: none, linear or yarn.
        scale: By how much the context is longer, as a decimal string.
        base: The base frequency, as a decimal string.
        original_context: Tokens that the model was trained with.
    """

    scaling: str | None = None
    scale: str | None = None
    base: str | None = None
    original_context: int | None = None

    def tell(self, parameters: Any) -> None:  # noqa: ANN401 - xllamacpp's own
        """Put it into xllamacpp's parameters."""
        if self.scaling is not None:
            parameters.rope_scaling_type = xllamacpp.llama_rope_scaling_type(_ROPE_SCALINGS[self.scaling])
        if self.scale is not None:
            parameters.rope_freq_scale = 1 / float(self.scale)
        if self.base is not None:
            parameters.rope_freq_base = float(self.base)
        if self.original_context is not None:
            parameters.yarn_orig_ctx = self.original_context


@frozen(kw_only=True)
class EngineOptions:
    """How a model is loaded.

    Attributes:
        path: The file, which its weights begin.
        context: Tokens; 0 for as many as the model was trained with.
        threads: How many; None for the engine's default.
        pooling: How its vectors are pooled, as llama.h numbers it, for a model that makes vectors; None for text.
        light: Whether weights stay where they are, even where another arrangement is faster.
        cache_type: Tensor type of the KV cache; None for the engine's default.
        rope: How positions are scaled.
    """

    path: str
    context: int = 0
    threads: int | None = None
    pooling: int | None = None
    light: bool = False
    cache_type: str | None = None
    rope: Rope = Rope()

    def parameters(self) -> Any:  # noqa: ANN401 - xllamacpp's own
        """Return it as xllamacpp takes it."""
        made = xllamacpp.CommonParams()
        made.model.path = self.path
        made.n_ctx = self.context
        made.n_parallel = 1
        made.n_batch = BATCH
        made.warmup = False
        made.fit_params = False
        made.ui = False
        made.cache_ram_mib = 0
        made.verbosity = 1  # errors
        # Chat templates are rendered here, within a budget: the engine is kept from reading the model's.
        made.use_jinja = False
        made.chat_template = "chatml"
        made.no_extra_bufts = self.light
        if self.threads:
            made.cpuparams.n_threads = made.cpuparams_batch.n_threads = self.threads
        if self.cache_type is not None:
            made.cache_type_k = made.cache_type_v = xllamacpp.ggml_type(GGML_TYPES[self.cache_type.upper()].number)
        self.rope.tell(made)
        if self.pooling is not None:
            made.embedding = True
            made.pooling_type = xllamacpp.llama_pooling_type(self.pooling)
            made.n_batch = made.n_ubatch = self.context
        return made


class _Connection(http.client.HTTPConnection):
    """HTTP through a socket of this machine."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(str(self._path))


@contextlib.contextmanager
def _kept_log(folder: Path) -> Iterator[Any]:
    """Yield a file that takes what is written to standard error meanwhile: reasons are logged there, and nowhere else."""
    before = os.dup(2)
    with tempfile.TemporaryFile(dir=folder) as log:
        os.dup2(log.fileno(), 2)
        try:
            yield log
        finally:
            os.dup2(before, 2)
            os.close(before)


def reason(log: BinaryIO, patience: float = _LOG_SECONDS) -> str:
    """Return the first error of a log without the name of llama.cpp's function; later ones only repeat that it failed.

    A thread of llama.cpp's writes the log, and may do so only after the call has failed.

    Args:
        log: The file that it writes to.
        patience: How long to wait for an error, in seconds.
    """
    end = time.monotonic() + patience
    while True:
        log.seek(0)
        for line in log.read(_MOST_LOG_BYTES).splitlines(keepends=True):
            found = _ERROR_LINE.match(line.decode(errors="replace"))
            if found:
                return _FUNCTION.sub("", found["said"])
        if time.monotonic() > end:
            return "it does not say why"
        time.sleep(_LOOK_SECONDS)


def _explained(reason: str) -> str:
    """Return a reason, and that the engine may be the cause where llama.cpp does not know something."""
    if may_be_newer(reason):
        return f"{reason}; xllamacpp {metadata.version('xllamacpp')} may be older than the model"
    return reason


def _remove_old(folder: Path) -> None:
    """Remove the sockets of processes that have ended without doing so."""
    for path in folder.glob("*.sock"):
        process = path.stem.partition("-")[0]
        if process.isdigit() and not Path(f"/proc/{process}").exists():
            path.unlink(missing_ok=True)


class Engine:
    """A model in memory.

    Args:
        options: How it is loaded.
        folder: Where its socket is made; only the user can enter it.

    Raises:
        EngineError: The model cannot be loaded; the message is the engine's.
    """

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        _remove_old(folder)
        if len(os.fsencode(folder)) > _LONGEST_FOLDER:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            atexit.register(os.close, descriptor)
            folder = Path(f"/proc/self/fd/{descriptor}")
        self._path = folder / f"{os.getpid()}-{next(_NUMBERS)}.sock"
        self._path.unlink(missing_ok=True)
        parameters = options.parameters()
        parameters.hostnames = [str(self._path)]
        handlers = {stop: signal.getsignal(stop) for stop in (signal.SIGINT, signal.SIGTERM)}
        with _kept_log(folder) as log:
            try:
                self._server = xllamacpp.Server(parameters)
            except RuntimeError:
                self._path.unlink(missing_ok=True)
                raise EngineError(f"llama.cpp cannot load the model: {_explained(reason(log))}") from None
        for stop, handler in handlers.items():
            signal.signal(stop, handler)  # the engine takes them for itself
        atexit.register(self._path.unlink, missing_ok=True)
        self.ask("/slots")  # its loop has begun once it answers; before, it could not be ended

    def _opened(self, path: str, body: Mapping[str, Any] | None) -> tuple[_Connection, http.client.HTTPResponse]:
        connection = _Connection(self._path)
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        if answer.status != _OK:
            with contextlib.closing(connection):
                raise EngineError(_told(answer.read()))
        return connection, answer

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return what the engine answers.

        Raises:
            EngineError: It refuses.
        """
        connection, answer = self._opened(path, body)
        with contextlib.closing(connection):
            return json.loads(answer.read())

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the events of an answer; the engine stops where the caller does.

        Raises:
            EngineError: It refuses, or fails in the middle.
        """
        connection, answer = self._opened(path, {**body, "stream": True})
        with contextlib.closing(connection):
            for line in answer:
                if line.startswith((b"data: {", b"error: {")):
                    event = json.loads(line.partition(b": ")[2])
                    if "error" in event or line.startswith(b"error"):
                        raise EngineError(_told(json.dumps(event).encode()))
                    yield event


def _told(data: bytes) -> str:
    try:
        found = json.loads(data)
        error = found.get("error", found)
        return str(error["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "the engine gives no reason"
