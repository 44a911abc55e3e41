"""What of a source's files is the model: one folder of safetensors, with what belongs to it."""

from __future__ import annotations

import pytest

from lftool.errors import RecipeError
from lftool.models.digest import Digest
from lftool.models.lock import LockedFile
from lftool.pipeline.model.selection import _safetensors


def chosen(*paths: str) -> tuple[str, tuple[str, ...]]:
    """Return folder and files of the model."""
    files = tuple(LockedFile(path=path, size=1, sha256=Digest("0" * 64)) for path in sorted(paths))
    found = _safetensors(files, "base")
    assert found is not None
    return found.folder, tuple(file.path for file in found.files)


PLAIN = ("config.json", "model.safetensors", "tokenizer.json")
TREE = (
    *PLAIN,
    "modules.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "2_Dense/model.safetensors",
    "3_Normalize/config.json",
    "additional_chat_templates/tool_use.jinja",
    "audio_tokenizer/config.json",
    "audio_tokenizer/model.safetensors",
    "speech_tokenizer/model.safetensors",
    "tokenizer.jsonl",
)


def test_the_whole_tree_of_a_model_is_taken():
    assert chosen(*TREE) == ("", tuple(sorted(TREE)))


def test_the_tree_may_stand_in_a_folder():
    paths = [f"org/model/{path}" for path in TREE]
    assert chosen(*paths, "org/README.md") == ("org/model/", tuple(sorted(paths)))


@pytest.mark.parametrize(
    "other",
    [
        "original/model.safetensors",
        "onnx/model.onnx",
        "onnx/config.json",
        "openvino/openvino_model.xml",
        "code.py",
        "1_Pooling/pytorch_model.bin",
        "1_Pooling/code.py",
        "images/card.md",
        "0/model.safetensors",
    ],
)
def test_nothing_else_below_it_is_taken(other):
    assert chosen(*PLAIN, other) == ("", PLAIN)


def test_two_models_side_by_side_are_ambiguous():
    with pytest.raises(RecipeError) as caught:
        chosen("one/model.safetensors", "two/model.safetensors")
    assert caught.value.message == "source 'base' has 2 folders of safetensors that could be the weights: one, two"
    assert caught.value.hints == ('leave the others out: exclude = ["two/**"] under [sources.base]',)
