"""Load a bundle's model with xllamacpp, as its run contract and the options say."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftool.api.gguf import read_gguf
from lftool_xllamacpp.engine import Engine, EngineOptions
from lftool_xllamacpp.model import Model, renderer

if TYPE_CHECKING:
    import argparse

_MEAN, _RANK = 1, 4  # llama_pooling_type in llama.h


def _template(bundle: Any) -> str:  # noqa: ANN401 - the runner's Bundle
    with Path(bundle.path).open("rb") as file:
        header = read_gguf(file, None, bundle.name)  # a bundle goes on behind its tensors
    found = header.metadata.get("tokenizer.chat_template")
    return found if isinstance(found, str) else ""


def load(runner: Any, bundle: Any, options: argparse.Namespace, *, embeddings: bool = False) -> tuple[Model, str]:  # noqa: ANN401 - a module that is known at run time
    """Return the model of a bundle, and what it does: `generates`, `embeds` or `ranks`."""
    if bundle.adapter is not None:
        sys.exit(f"{bundle.name}: xllamacpp does not take the LoRA adapter of a bundle; use another engine: --engine")
    contract, facts = bundle.contract, runner.read_facts(bundle)
    kind, pooling = runner.kind_of(facts)
    context = contract.get("context", 0)
    if embeddings or kind != "generates":
        kind = "ranks" if kind == "ranks" else "embeds"
        trained = facts.get(f"{facts['general.architecture']}.context_length", runner.MOST_TOKENS)
        context = context or min(trained, runner.MOST_TOKENS)
        pooling = _RANK if kind == "ranks" else pooling or _MEAN
    else:
        pooling = None
    threads = runner.threads(options.threads)
    engine = Engine(
        EngineOptions(path=bundle.path, context=context, threads=threads["n_threads"], pooling=pooling),
        Path(os.environ["LFTOOL_SOCKETS"]),
    )
    about = engine.ask("/props")
    template = _template(bundle) if kind == "generates" else ""
    tokens = {name: str(about.get(name, "")) for name in ("eos_token", "bos_token")}
    variables = {} if options.think is None else {"enable_thinking": options.think}
    model = Model(
        engine,
        renderer(runner, template, tokens, variables),
        template,
        context or int(about["default_generation_settings"]["n_ctx"]),  # as asked for; llama.cpp's is a multiple of 256
        seed=contract.get("seed", 0),
    )
    return model, kind
