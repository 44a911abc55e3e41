"""Load a model's vocabulary and list of tensors with llama.cpp, and none of its data."""

from __future__ import annotations

import ctypes
import os
import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lftool.api import FormatError, LoadReport
from lftool_llamacpp.engine import llama_cpp
from lftool_llamacpp.engine_log import EngineLog
from lftool_llamacpp.newer_models import may_be_newer

if TYPE_CHECKING:
    from lftool.api import LoadRequest

_MIB = 1024 * 1024
_MOST_TRIED = 2**20  # tokens: llama.cpp keeps notes on every one. Memory grows in proportion.
# What llama.cpp says of a context's memory (llama-kv-cache.cpp, llama-memory-recurrent.cpp, llama-context.cpp).
_CACHE = re.compile(r"\A\w+: size = +([0-9.]+) MiB \(")
_COMPUTE = re.compile(r"compute buffer size = +([0-9.]+) MiB")


def _sizes(lines: list[str]) -> int:
    found = [match for line in lines for match in (_CACHE.search(line), _COMPUTE.search(line)) if match]
    return round(sum(float(match[1]) for match in found) * _MIB)


def _context(model: Any, tokens: int, log: EngineLog) -> tuple[int, int | None]:  # noqa: ANN401 - a pointer
    """Return how many tokens a context has room for, and its memory in bytes; the memory itself is not allocated."""
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = min(tokens, _MOST_TRIED)
    before = len(log.lines)
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        return tokens, None
    made, size = llama_cpp.llama_n_ctx(context), _sizes(log.lines[before:])
    llama_cpp.llama_free(context)
    return (made, size) if tokens <= _MOST_TRIED else (tokens, size * tokens // made)


def _template_warnings(model: Any) -> tuple[str, ...]:  # noqa: ANN401 - a pointer
    """Return what is wrong with the model's chat template; texts are completed without it."""
    found = llama_cpp.llama_model_chat_template(model, None)
    if not found:
        return ()
    template = found.decode("utf-8", "replace")
    if "{" not in template:  # a name of one of llama.cpp's own
        said = (llama_cpp.llama_chat_message * 1)(llama_cpp.llama_chat_message(b"user", b"hello"))
        if llama_cpp.llama_chat_apply_template(found, said, 1, True, None, 0) >= 0:  # noqa: FBT003 - llama.cpp's own
            return ()
        wrong = f"is {template[:80]!r}: neither a template, nor a name that llama.cpp knows"
    else:
        try:
            llama_cpp.llama_chat_format.Jinja2ChatFormatter(template, eos_token="", bos_token="")
        except Exception as error:  # noqa: BLE001 - whatever a model's own text makes of the library
            wrong = f"does not compile: {error}"
        else:
            return ()
    return (f"the chat template {wrong}; bundles will complete text (--raw), but not chat",)


def _hints(reason: str) -> tuple[str, ...]:
    if not may_be_newer(reason):
        return ()
    return (f"the model may be newer than llama-cpp-python {version('llama-cpp-python')}: lftool runtime outdated",)


def load(request: LoadRequest) -> LoadReport:
    """Load a model without its data.

    Raises:
        FormatError: llama.cpp cannot load it; the message ends with what llama.cpp says.
    """
    os.environ["GGML_NO_BACKTRACE"] = "1"  # an assertion that fails would start a debugger
    with EngineLog() as log:
        parameters = llama_cpp.llama_model_default_params()
        parameters.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
        parameters.no_alloc = True
        parameters.n_gpu_layers = 0
        devices = (ctypes.c_void_p * 1)(None)  # no device: a driver has nothing to say here
        parameters.devices = ctypes.cast(devices, ctypes.c_void_p)
        model = llama_cpp.llama_model_load_from_file(os.fsencode(request.weights), parameters)
        if not model:
            raise FormatError(f"llama.cpp cannot load the weights: {log.reason()}", hints=_hints(log.reason()))
        context, context_bytes = _context(
            model, request.context or max(0, llama_cpp.llama_model_n_ctx_train(model)), log
        )
        warnings = _template_warnings(model)
        llama_cpp.llama_model_free(model)
    return LoadReport(
        tool=f"llama-cpp-python {version('llama-cpp-python')}",
        context=context,
        context_bytes=context_bytes,
        warnings=warnings,
    )
