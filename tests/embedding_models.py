"""A small embedding model as sentence-transformers keeps it, and the vectors that transformers computes with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS = (
    "Once upon a time there was a fox.",
    "A fox walked into the woods at night, and was not seen again.",
    "How?",
)
_MODES = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}


@frozen(kw_only=True)
class EmbeddingModel:
    """A model of random weights, in a folder.

    Attributes:
        folder: Where its files are.
        model: `transformers.XLMRobertaModel`.
        tokenizer: `sentencepiece.SentencePieceProcessor`.
    """

    folder: Path
    model: Any
    tokenizer: Any

    def vectors(self, texts: Sequence[str], pooling: str) -> list[list[float]]:
        """Return vectors of length 1."""
        import torch

        made = []
        for text in texts:
            pieces = [3 if piece == 0 else piece + 1 for piece in self.tokenizer.encode(text)]  # as XLM-RoBERTa counts
            with torch.inference_mode():
                states = self.model(torch.tensor([[0, *pieces, 2]])).last_hidden_state[0]
            vector = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]
            made.append(torch.nn.functional.normalize(vector, dim=0).tolist())
        return made


def make_model(folder: Path, story: Path, pooling: str) -> EmbeddingModel:
    """Write a model.

    Args:
        folder: Where.
        story: A text to learn pieces from.
        pooling: How it pools: `mean`, `cls`, `last`; or `rank` for one that ranks documents.
    """
    import sentencepiece
    import torch
    import transformers

    folder.mkdir(parents=True)
    prefix = folder / "sentencepiece.bpe"
    sentencepiece.SentencePieceTrainer.train(
        input=str(story), model_prefix=str(prefix), vocab_size=280, model_type="unigram", minloglevel=2
    )
    (folder / "sentencepiece.bpe.vocab").unlink()
    config = transformers.XLMRobertaConfig(
        vocab_size=282,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=130,
        type_vocab_size=1,
        initializer_range=0.2,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(1)
    if pooling == "rank":
        config.num_labels = 1
        model = transformers.XLMRobertaForSequenceClassification(config).eval()
    else:
        model = transformers.XLMRobertaModel(config).eval()
    model.save_pretrained(folder)
    begins = {"add_bos_token": True, "add_eos_token": True, "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(begins))
    if pooling != "rank":
        _write_modules(folder, pooling)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    return EmbeddingModel(folder=folder, model=model, tokenizer=tokenizer)


def _write_modules(folder: Path, pooling: str) -> None:
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    mode = {key: name == pooling for name, key in _MODES.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 64, **mode}))


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of two vectors of length 1."""
    return sum(x * y for x, y in zip(one, other, strict=True))
