"""What stages read of the locked files: converters, quantizers, and a build as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import RecipeError
from lftool.pipeline.selection import parts_of, pick, weights_artifact, weights_files

if TYPE_CHECKING:
    from lftool.models.digest import Artifact
    from lftool.models.lock import Lock, LockedFile
    from lftool.models.recipe import Recipe


def conversion_inputs(role: str, recipe: Recipe, lock: Lock) -> dict[str, Artifact]:
    """Return what a converter reads for a role, named by paths within the source.

    An adapter's files stand under `adapter/`, the configuration of its model under `base/`.

    Raises:
        RecipeError: An adapter in PEFT's format is to be converted, and the weights have no configuration.
    """
    return {name: file.artifact for name, _, file in _conversion_files(role, recipe, lock)}


def conversion_files(role: str, recipe: Recipe, lock: Lock) -> list[tuple[str, LockedFile]]:
    """Return (source, file) of what a converter reads for a role.

    Raises:
        RecipeError: As `conversion_inputs`.
    """
    return [(source, file) for _, source, file in _conversion_files(role, recipe, lock)]


def _conversion_files(role: str, recipe: Recipe, lock: Lock) -> list[tuple[str, str, LockedFile]]:
    files, source = parts_of(recipe, lock)[role].files, getattr(recipe.model, role)
    if role != "lora":
        return [(file.path, source, file) for file in files]
    weights = weights_files(recipe, lock)
    config = next((file for file in weights.files if file.path == f"{weights.folder}config.json"), None)
    if config is None:
        raise RecipeError(
            f"source {recipe.model.lora!r} is an adapter in PEFT's format; converting it needs the config.json of its"
            f" model, and source {recipe.model.weights!r} has none",
            hints=("start from the model's safetensors files, or take the adapter as GGUF",),
        )
    adapter = [(f"adapter/{file.path.rpartition('/')[2]}", source, file) for file in files]
    return [*adapter, ("base/config.json", recipe.model.weights, config)]


def imatrix_file(recipe: Recipe, lock: Lock) -> LockedFile | None:
    """Return the locked importance matrix of the recipe's model, if it names one.

    Raises:
        RecipeError: Its source has none, or several.
    """
    name = recipe.model.imatrix
    return (
        None
        if name is None
        else pick(lock.sources[name].files, name, "importance matrix", (".imatrix", ".dat", ".gguf"))
    )


def quantize_inputs(recipe: Recipe, lock: Lock) -> dict[str, Artifact]:
    """Return role to artifact of what a quantizer reads.

    Raises:
        RecipeError: An ambiguous or empty choice.
    """
    return {"weights": weights_artifact(recipe, lock), **imatrix_input(recipe, lock)}


def imatrix_input(recipe: Recipe, lock: Lock) -> dict[str, Artifact]:
    """Return the importance matrix under its role; nothing when the recipe names none.

    Raises:
        RecipeError: As `imatrix_file`.
    """
    imatrix = imatrix_file(recipe, lock)
    return {} if imatrix is None else {"imatrix": imatrix.artifact}


def needed_files(recipe: Recipe, lock: Lock) -> list[tuple[str, LockedFile]]:
    """Return (source, file) of all that a build reads, each once."""
    found = {
        (getattr(recipe.model, role), file): None
        for role, part in parts_of(recipe, lock).items()
        for file in part.files
    }
    return list(found | dict.fromkeys(imatrix_files(recipe, lock)))


def imatrix_files(recipe: Recipe, lock: Lock) -> list[tuple[str, LockedFile]]:
    """Return (source, file) of the importance matrix; nothing when the recipe names none.

    Raises:
        RecipeError: As `imatrix_file`.
    """
    imatrix, source = imatrix_file(recipe, lock), recipe.model.imatrix
    return [] if imatrix is None or source is None else [(source, imatrix)]
