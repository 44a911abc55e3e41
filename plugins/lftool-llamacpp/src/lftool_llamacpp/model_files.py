"""A model's files as the conversion scripts may see them: only files of the source, and nothing that asks for code."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

from lftool.api import InputWarning
from lftool.errors import FormatError, RecipeError
from lftool_llamacpp.front_matter import problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CARD = "readme.md"  # what gguf-py reads as the model card
_INDEX = "model.safetensors.index.json"
# Vocabularies are large, and name nothing.
_PLAIN = frozenset({"tokenizer.json", "vocab.json", "merges.json"})


def read_json(path: Path, name: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the content of a JSON file.

    Raises:
        FormatError: It is none.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} is no JSON: {error}") from None


def check_weights(paths: Mapping[str, Path]) -> None:
    """Raise unless the scripts will read exactly the safetensors files that are there.

    They read what `model.safetensors.index.json` lists, from wherever it says, or else files whose name begins with `model`.

    Raises:
        FormatError: The index is damaged, or names something that is no file of the source.
        RecipeError: There are safetensors files that would not be read.
    """
    have = {name for name in paths if name.endswith(".safetensors")}
    if _INDEX in paths:
        index = read_json(paths[_INDEX], _INDEX)
        listed = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise FormatError(f"{_INDEX}: weight_map must map tensors to files")
        named = set(listed.values())
        foreign = sorted(named - have)
        if foreign:
            raise FormatError(f"{_INDEX} names {foreign[0]!r}, which is no file of the source")
    else:
        named = {name for name in have if name.startswith("model")}
    left = sorted(have - named)
    if left:
        raise RecipeError(
            f"{left[0]} would not be read: llama.cpp's scripts read model*.safetensors, or what {_INDEX} lists",
            hints=("leave it out with `exclude`",),
        )


def _without_code(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON without `auto_map`, by which a model asks transformers to import code."""
    if isinstance(value, dict):
        return {key: _without_code(item) for key, item in value.items() if key != "auto_map"}
    return [_without_code(item) for item in value] if isinstance(value, list) else value


def lay_out(folder: Path, paths: Mapping[str, Path]) -> None:
    """Put a model's files into a folder under their own names.

    Raises:
        FormatError: A JSON file is damaged.
    """
    folder.mkdir(parents=True)
    for name, path in paths.items():
        target = folder / name
        problem = problem_of(path) if name.lower() == _CARD else None
        if problem is not None:
            warnings.warn(f"{name} is left out: {problem}", InputWarning, stacklevel=1)
            continue
        if name.endswith(".json") and name not in _PLAIN and not name.endswith(".index.json"):
            plain = read_json(path, name)
            stripped = _without_code(plain)
            if stripped != plain:
                target.write_text(json.dumps(stripped))
                continue
        target.symlink_to(path)
