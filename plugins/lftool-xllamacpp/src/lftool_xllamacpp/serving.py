"""The server of a bundle with xllamacpp: `python -I -m lftool_xllamacpp.serving RUNNER BUNDLE [OPTIONS]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftool_llamacpp.requests import Limits
from lftool_llamacpp.server import Served, run
from lftool_xllamacpp.grammar import grammar_of
from lftool_xllamacpp.starting import load

if TYPE_CHECKING:
    import argparse


def _served(runner: Any, bundle: Any, options: argparse.Namespace) -> Served:  # noqa: ANN401 - a module that is known at run time
    model, kind = load(runner, bundle, options, embeddings=options.embeddings)
    (about,) = model.engine.ask("/v1/models")["data"]
    return Served(
        model=model,
        kind=kind,
        template=model.template,
        # The engine compiles a grammar when it is asked, and refuses what it cannot.
        limits=Limits(
            vocabulary=int(about["meta"]["n_vocab"]),
            grammar=grammar_of,
            compiles=lambda _: True,
        ),
        embed=model.vector,
        rank=model.rank,
    )


if __name__ == "__main__":
    run(_served)
