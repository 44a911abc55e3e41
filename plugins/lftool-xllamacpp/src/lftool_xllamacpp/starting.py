"""Load a bundle's model with xllamacpp, as its run contract and the options say."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftool.api.gguf import read_gguf, text_array
from lftool_xllamacpp.engine import Engine, EngineOptions, Rope
from lftool_xllamacpp.grammar import grammar_of
from lftool_xllamacpp.model import Model, renderer

if TYPE_CHECKING:
    import argparse

    from lftool.api.gguf import GGUFHeader

_MEAN, _RANK = 1, 4  # llama_pooling_type in llama.h


def _header(bundle: Any) -> GGUFHeader:  # noqa: ANN401 - the runner's Bundle
    with Path(bundle.path).open("rb") as file:
        return read_gguf(file, None, bundle.name)  # a bundle goes on behind its tensors


def _template(header: GGUFHeader) -> str:
    found = header.metadata.get("tokenizer.chat_template")
    return found if isinstance(found, str) else ""


def _held(bundle: Any) -> str | None:  # noqa: ANN401 - as above
    """Return the grammar that the run contract holds answers to."""
    contract = bundle.contract
    if "json_schema" not in contract:
        return contract.get("grammar")  # type: ignore[no-any-return]  # of the manifest
    try:
        return grammar_of(contract["json_schema"])
    except ValueError as error:
        sys.exit(f"{bundle.name}: xllamacpp cannot hold an answer to [run] json_schema: {error}")


def _ends(bundle: Any, header: GGUFHeader) -> frozenset[int]:  # noqa: ANN401 - as above
    """Return the tokens that the run contract has end an answer."""
    wanted = [text.encode() for text in bundle.contract.get("stop_tokens", ())]
    if not wanted:
        return frozenset()
    with Path(bundle.path).open("rb") as file:
        tokens = text_array(file, header.metadata.get("tokenizer.ggml.tokens")) or []
    missing = [text for text in wanted if text not in tokens]
    if missing:
        sys.exit(f"{bundle.name}: its vocabulary has no token {missing[0].decode()!r} ([run] stop_tokens)")
    return frozenset(token for token, text in enumerate(tokens) if text in wanted)


def load(runner: Any, bundle: Any, options: argparse.Namespace, *, embeddings: bool = False) -> tuple[Model, str]:  # noqa: ANN401 - a module that is known at run time
    """Return the model of a bundle, and what it does: `generates`, `embeds` or `ranks`."""
    if bundle.adapter is not None:
        sys.exit(f"{bundle.name}: xllamacpp does not take the LoRA adapter of a bundle; use another engine: --engine")
    runner.check_contract(bundle)
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
        EngineOptions(
            path=bundle.path,
            context=context,
            threads=threads["n_threads"],
            pooling=pooling,
            cache_type=contract.get("cache_type"),
            rope=Rope(
                scaling=contract.get("rope_scaling"),
                scale=contract.get("rope_scale"),
                base=contract.get("rope_freq_base"),
                original_context=contract.get("yarn_original_context"),
            ),
        ),
        Path(os.environ["LFTOOL_SOCKETS"]),
    )
    about = engine.ask("/props")
    header = _header(bundle)
    template = _template(header) if kind == "generates" else ""
    tokens = {name: str(about.get(name, "")) for name in ("eos_token", "bos_token")}
    variables = {} if options.think is None else {"enable_thinking": options.think}
    model = Model(
        engine,
        renderer(runner, template, tokens, variables),
        template,
        context or int(about["default_generation_settings"]["n_ctx"]),  # as asked for; llama.cpp's is a multiple of 256
        seed=contract.get("seed", 0),
        held=_held(bundle) if kind == "generates" else None,
        ends=_ends(bundle, header),
    )
    return model, kind
