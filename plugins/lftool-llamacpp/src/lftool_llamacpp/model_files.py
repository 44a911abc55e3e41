"""A model's files as the conversion scripts may see them: only files of the source, and nothing that asks for code."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any

from lftool.api import FormatError, InputWarning, RecipeError, decode_utf8
from lftool_llamacpp.front_matter import problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CARD = "readme.md"  # what gguf-py reads as the model card
_INDEX, _WHOLE = "model.safetensors.index.json", "model.safetensors"
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_MOST_NAMED = 4
_MODULES = "modules.json"
# Vocabularies are large, and name nothing.
_PLAIN = frozenset({"tokenizer.json", "vocab.json", "merges.json"})


def read_json(path: Path, name: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the content of a JSON file.

    Raises:
        FormatError: It is none.
    """
    text = decode_utf8(path.read_bytes(), name)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} is not valid JSON: {error}") from None


def check_weights(paths: Mapping[str, Path]) -> None:
    """Raise unless the safetensors files that are there are one model: what an index lists, one whole file, or one set of shards.

    The scripts read every file whose name begins with `model`, and take the last of two tensors of the same name.

    Raises:
        FormatError: The index is damaged, or names something that is no file of the source.
        RecipeError: There are other safetensors files beside them, or a shard is missing.
    """
    have = {name for name in paths if name.endswith(".safetensors") and "/" not in name}
    if _INDEX in paths:
        index = read_json(paths[_INDEX], _INDEX)
        listed = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise FormatError(f"{_INDEX}: weight_map must map tensors to files")
        named = set(listed.values())
        foreign = sorted(named - have)
        if foreign:
            raise FormatError(f"{_INDEX} names {foreign[0]!r}, which the source does not have")
    else:
        named = _set_of(have)
    left = sorted(have - named)
    if left:
        raise RecipeError(
            f"the source holds more than one model: {_shown(sorted(named))}, and {_shown(left)}",
            hints=(f'leave one out: exclude = ["{left[0]}", …]',),
        )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _set_of(have: set[str]) -> set[str]:
    """Return the files of one model: the whole file, the shards of one set, or the only file there is.

    Raises:
        RecipeError: A shard is missing, or the only file is not called `model…`, so that the scripts do not read it.
    """
    shards = {name: match for name in have if (match := _SHARD.fullmatch(name))}
    if _WHOLE in have or not shards:
        only = {_WHOLE} if _WHOLE in have else {min(have)}
        if not min(only).startswith("model"):
            raise RecipeError(
                f"{min(only)} would be ignored: llama.cpp's scripts read model*.safetensors, or the files in {_INDEX}",
                hints=("rename it, or leave it out with `exclude`",),
            )
        return only
    total = min(match[2] for match in shards.values())
    chosen = {name for name, match in shards.items() if match[2] == total}
    missing = sorted(set(range(1, int(total) + 1)) - {int(shards[name][1]) for name in chosen})
    if missing:
        raise RecipeError(f"the model has {int(total)} safetensors files, and number {missing[0]} is missing")
    return chosen


def check_modules(paths: Mapping[str, Path]) -> None:
    """Raise unless all that makes a sentence's vector of a model's output is there: without it, the vector is another one.

    Raises:
        FormatError: `modules.json` is damaged.
        RecipeError: It names a module whose files are not there; or a module is there without it.
    """
    modules = sorted({name.partition("/")[0] for name in paths if name.endswith("_Pooling/config.json")})
    if _MODULES not in paths:
        if modules:
            raise RecipeError(
                f"{modules[0]}/config.json defines the pooling, but {_MODULES} is not included, so it would be ignored",
                hints=(f'include {_MODULES}, or exclude "{modules[0]}/**" too',),
            )
        return
    listed = read_json(paths[_MODULES], _MODULES)
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise FormatError(f"{_MODULES} must be a list of modules")
    for item in listed:
        kind, path = str(item.get("type", "")), str(item.get("path", ""))
        if kind.endswith(("Pooling", "Dense")) and f"{path}/config.json" not in paths:
            raise RecipeError(
                f"{_MODULES} names the module {path!r}, but {path}/config.json is not included",
                hints=(f'include it: include = ["{path}/**", …]',),
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
        target.parent.mkdir(parents=True, exist_ok=True)
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
