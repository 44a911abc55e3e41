"""Pick the one file of a source that plays a part; an ambiguous choice is an error that lists the candidates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lftool.errors import FormatError, RecipeError, UnavailableError

if TYPE_CHECKING:
    from lftool.models.digest import Artifact
    from lftool.models.lock import Lock, LockedFile
    from lftool.models.recipe import Recipe

_PICKLES = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth")


# llama.cpp's names of a GGUF in several files: `llama_split_path` writes `%s-%05d-of-%05d.gguf`.
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf\Z")


def _refuse_split(found: list[LockedFile], source: str, role: str) -> None:
    """Raise when all candidates are the parts of one file: they count as one, which cannot be joined here yet."""
    parts = [_SPLIT.match(file.path) for file in found]
    whole = {(match[1], match[3]) for match in parts if match}
    if not found or None in parts or len(whole) != 1:
        return
    name, count = whole.pop()
    have = {int(match[2]) for match in parts if match}
    missing = sorted(set(range(1, int(count) + 1)) - have)
    if missing:
        numbers = ", ".join(str(number) for number in missing)
        raise RecipeError(f"source {source!r}: the {role} {name}.gguf has {int(count)} parts; missing: {numbers}")
    raise UnavailableError(
        f"source {source!r}: the {role} {name}.gguf is split into {int(count)} files, which this version cannot join",
        hints=("join them with llama.cpp's `llama-gguf-split --merge`, and point the source at the result",),
    )


def _pick(files: tuple[LockedFile, ...], source: str, role: str, suffixes: tuple[str, ...]) -> LockedFile:
    found = [file for file in files if file.path.endswith(suffixes)]
    _refuse_split(found, source, role)
    if not found and len(files) == 1 and not files[0].path.endswith((*_PICKLES, ".safetensors")):
        return files[0]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.path for file in found)
        raise RecipeError(
            f"source {source!r} has {len(found)} files that could be the {role}: {names}",
            hints=(f'choose one: include = ["{found[0].path}"] under [sources.{source}]',),
        )
    if any(file.path.endswith(".safetensors") for file in files):
        raise UnavailableError(
            f"source {source!r} holds safetensors, and no installed plugin converts them to GGUF",
            hints=("point the source at a GGUF file",),
        )
    pickles = [file.path for file in files if file.path.endswith(_PICKLES)]
    if pickles:
        raise FormatError(
            f"source {source!r}: {pickles[0]} is a pickle checkpoint; those run code when loaded and are refused",
            hints=("use the model's GGUF or safetensors files",),
        )
    raise RecipeError(f"source {source!r} has no file that could be the {role}: {', '.join(f.path for f in files)}")


def weights_file(recipe: Recipe, lock: Lock) -> LockedFile:
    """Return the locked GGUF of the recipe's model.

    Raises:
        RecipeError: None, or several.
        FormatError: A pickle checkpoint.
        UnavailableError: A format that no installed plugin converts.
    """
    name = recipe.model.weights
    return _pick(lock.sources[name].files, name, "weights", (".gguf",))


def imatrix_file(recipe: Recipe, lock: Lock) -> LockedFile | None:
    """Return the locked importance matrix of the recipe's model, if it names one.

    Raises:
        RecipeError: Its source has none, or several.
    """
    name = recipe.model.imatrix
    return (
        None
        if name is None
        else _pick(lock.sources[name].files, name, "importance matrix", (".imatrix", ".dat", ".gguf"))
    )


def quantize_inputs(recipe: Recipe, lock: Lock) -> dict[str, Artifact]:
    """Return role to artifact of what a quantizer reads.

    Raises:
        RecipeError: An ambiguous or empty choice.
    """
    inputs = {"weights": weights_file(recipe, lock).artifact}
    imatrix = imatrix_file(recipe, lock)
    if imatrix is not None:
        inputs["imatrix"] = imatrix.artifact
    return inputs


def needed_files(recipe: Recipe, lock: Lock) -> list[tuple[str, LockedFile]]:
    """Return (source, file) of all that a build reads."""
    found = [(recipe.model.weights, weights_file(recipe, lock))]
    imatrix = imatrix_file(recipe, lock)
    if imatrix is not None and recipe.model.imatrix is not None:
        found.append((recipe.model.imatrix, imatrix))
    return found
