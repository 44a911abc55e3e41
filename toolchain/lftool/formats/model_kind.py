"""What a model does: generate text, embed texts as vectors, or rank documents.

Sources: llama.cpp's include/llama.h (enum llama_pooling_type) and src/llama-arch.cpp (encoder-only architectures).
The runner (builtin/python_runtime) and the native runtime (native/kind.cpp) follow the same rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import frozen

if TYPE_CHECKING:
    from lftool.formats.gguf_read import GGUFHeader

Does = Literal["generates", "embeds", "ranks"]

POOLINGS = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
_RANK = "rank"
_HEAD = "cls."  # tensors of a scoring head: the scripts write one for classification models
ENCODERS = frozenset(
    {
        *(
            "bert",
            "modern-bert",
            "nomic-bert",
            "nomic-bert-moe",
            "neo-bert",
            "jina-bert-v2",
            "jina-bert-v3",
            "eurobert",
        ),
        *("gemma-embedding", "t5encoder"),
    }
)


@frozen(kw_only=True)
class ModelKind:
    """What a model does.

    Attributes:
        does: `generates` text, `embeds` texts as vectors, or `ranks` documents.
        pooling: How token vectors are combined into one, by llama.cpp's name; None if the model does not specify it.
    """

    does: Does
    pooling: str | None = None


def model_kind(header: GGUFHeader) -> ModelKind:
    """Return what the model of a GGUF does."""
    architecture = header.metadata.get("general.architecture")
    number = header.metadata.get(f"{architecture}.pooling_type")
    pooling = POOLINGS.get(number) if isinstance(number, int) else None
    classifies = architecture in ENCODERS and any(item.name.startswith(_HEAD) for item in header.tensors)
    if pooling == _RANK or classifies:
        return ModelKind(does="ranks", pooling=_RANK)
    embeds = pooling in {"mean", "cls", "last"} or architecture in ENCODERS
    return ModelKind(does="embeds" if embeds else "generates", pooling=pooling)
