"""Try whether the engine loads a model, without its data."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2.exceptions import TemplateError

from lftool.api import FormatError, LoadReport
from lftool.api.gguf import read_gguf
from lftool_xllamacpp.engine import Engine, EngineError, EngineOptions
from lftool_xllamacpp.templates import ChatTemplate
from lftool_xllamacpp.versions import NAME, versions

if TYPE_CHECKING:
    from lftool.api import LoadRequest

_TOKENS = 256  # of context: what a longer one takes is not known here


def load(request: LoadRequest) -> LoadReport:
    """Load a model without its data.

    Raises:
        FormatError: llama.cpp cannot load it; the message ends with what llama.cpp says.
    """
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        try:
            Engine(EngineOptions(path=str(request.weights.absolute()), context=_TOKENS, light=True), Path(folder))
        except EngineError as error:
            raise FormatError(str(error).replace("the model:", "the weights:", 1)) from None
        return LoadReport(tool=f"{NAME} {versions()[NAME]}", warnings=_warnings(request.weights))


def _warnings(weights: Path) -> tuple[str, ...]:
    """Return what is wrong with the model's chat template; texts are completed without it."""
    with weights.open("rb") as file:
        template = read_gguf(file, os.fstat(file.fileno()).st_size, "the weights").metadata.get(
            "tokenizer.chat_template"
        )
    if not isinstance(template, str):
        return ()
    try:
        ChatTemplate(template, "", "")
    except TemplateError as error:
        return (f"the chat template does not compile: {error}; bundles will complete text (--raw), but not chat",)
    return ()
