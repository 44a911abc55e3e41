"""The parts of a recipe's model, picked once from the pinned files, for converters, quantizers and bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import ConverterType
from lftool.errors import LockError, RecipeError
from lftool.models.digest import Artifact
from lftool.models.lock import LockedFile
from lftool.pipeline.model.selection import Format, lora_files, mmproj_files, pick, weights_files

if TYPE_CHECKING:
    from lftool.host.registry import Registry
    from lftool.models.lock import Lock
    from lftool.models.recipe import Recipe

WEIGHTS, LORA, MMPROJ, IMATRIX = "weights", "lora", "mmproj", "imatrix"
PEFT = "peft"
GGUF_TYPES = {WEIGHTS: "model", LORA: "adapter", MMPROJ: "mmproj"}  # role to `general.type`


@frozen(kw_only=True)
class Part:
    """A part of a model in a source.

    Attributes:
        role: `weights`, `lora` or `mmproj`.
        source: Name of the source.
        format: `gguf`, or the input format of a converter: `gguf-split`, `safetensors`, `peft`, or a plugin's format.
        files: Sorted by path.
        folder: Their folder in the source, with a trailing slash; empty for its root.
    """

    role: str
    source: str
    format: str
    files: tuple[LockedFile, ...]
    folder: str = ""

    @property
    def is_gguf(self) -> bool:
        """Whether it is a single GGUF, which needs no converter."""
        return self.format == "gguf"

    @property
    def pinned(self) -> tuple[tuple[str, LockedFile], ...]:
        """Its files, each with the source's name."""
        return tuple((self.source, file) for file in self.files)


@frozen(kw_only=True)
class ModelParts:
    """All parts of a model.

    Attributes:
        weights: The weights of the model.
        beside: Companions of the weights, by role: `lora`, `mmproj`.
        imatrix: Source and file of the importance matrix, if there is one.
        converted: Role to converted GGUF, from the lock.
        template: Source and file of the chat template, if the recipe names one.
    """

    weights: Part
    beside: Mapping[str, Part]
    imatrix: tuple[str, LockedFile] | None
    converted: Mapping[str, Artifact]
    template: tuple[str, LockedFile] | None = None

    @property
    def by_role(self) -> dict[str, Part]:
        """The weights and their companions."""
        return {WEIGHTS: self.weights, **self.beside}

    def artifact(self, role: str) -> Artifact:
        """Return the GGUF of a part: the part itself, or its converted GGUF from the lock.

        Raises:
            LockError: It must be converted, and the lock does not name the result.
        """
        part = self.by_role[role]
        if part.is_gguf:
            return part.files[0].artifact
        if role not in self.converted:
            raise LockError(f"convert.{role}: not in the lock", hints=("lock again: lftool lock",))
        return self.converted[role]

    @property
    def companions(self) -> dict[str, Artifact]:
        """Role to GGUF of the companions. May raise LockError, as `artifact` does."""
        return {role: self.artifact(role) for role in self.beside}

    @property
    def imatrix_input(self) -> dict[str, Artifact]:
        """The importance matrix under its role; empty if there is none."""
        return {} if self.imatrix is None else {IMATRIX: self.imatrix[1].artifact}

    @property
    def quantize_inputs(self) -> dict[str, Artifact]:
        """Role to artifact of a quantizer's inputs. May raise LockError, as `artifact` does."""
        return {WEIGHTS: self.artifact(WEIGHTS), **self.imatrix_input}

    @property
    def imatrix_files(self) -> list[tuple[str, LockedFile]]:
        """(source, file) of the importance matrix; empty if there is none."""
        return [] if self.imatrix is None else [self.imatrix]

    def conversion_inputs(self, role: str) -> dict[str, Artifact]:
        """Return a converter's inputs for a role, named by paths within the source.

        An adapter's files are under `adapter/`, the configuration of its model under `base/`.

        Raises:
            RecipeError: An adapter in PEFT's format needs converting, and the weights have no configuration.
        """
        return {name: file.artifact for name, _, file in self._conversion_files(role)}

    def conversion_files(self, role: str) -> list[tuple[str, LockedFile]]:
        """Return (source, file) of a converter's inputs for a role.

        Raises:
            RecipeError: As for `conversion_inputs`.
        """
        return [(source, file) for _, source, file in self._conversion_files(role)]

    def _conversion_files(self, role: str) -> list[tuple[str, str, LockedFile]]:
        part = self.by_role[role]
        if role != LORA or part.format != PEFT:
            return [(file.path, source, file) for source, file in part.pinned]
        weights = self.weights
        config = next((file for file in weights.files if file.path == f"{weights.folder}config.json"), None)
        if config is None:
            raise RecipeError(
                f"source {part.source!r} is an adapter in PEFT's format; converting it needs the config.json of its"
                f" model, and source {weights.source!r} has none",
                hints=("start from the model's safetensors files, or take the adapter as GGUF",),
            )
        adapter = [(f"adapter/{file.path.rpartition('/')[2]}", source, file) for source, file in part.pinned]
        return [*adapter, ("base/config.json", weights.source, config)]

    @property
    def needed_files(self) -> list[tuple[str, LockedFile]]:
        """(source, file) of everything that a build reads, each once."""
        found = dict.fromkeys(pinned for part in self.by_role.values() for pinned in part.pinned)
        templates = [] if self.template is None else [self.template]
        return list(found | dict.fromkeys([*self.imatrix_files, *templates]))


def formats_of(registry: Registry) -> tuple[Format, ...]:
    """Return the formats that plugins provide."""
    roles = {made: role for role, made in GGUF_TYPES.items()}
    return tuple(
        Format(name=record.consumes[0], role=roles[record.makes], recognises=record.recognises, beside=record.beside)
        for record in (item.record for item in registry.all(ConverterType))
        if record.recognises
    )


def _formats_in(lock: Lock) -> tuple[Format, ...]:
    """Return the plugins' formats in a lock. The lock names their files, so reading it needs no plugin."""
    return tuple(
        Format(name=stage.format, role=role, paths=stage.files)
        for role, stage in lock.convert.items()
        if stage.format is not None
    )


def model_parts(recipe: Recipe, lock: Lock, formats: tuple[Format, ...] = ()) -> ModelParts:
    """Return the parts of the recipe's model, picked from the pinned files.

    Args:
        recipe: The recipe.
        lock: Pins the sources, and names the files in plugins' formats.
        formats: The plugins' formats, while a lock is being made.

    Raises:
        RecipeError: A part is missing or ambiguous.
        FormatError: A pickle checkpoint.
    """
    model, imatrix = recipe.model, None
    formats = formats or _formats_in(lock)
    chosen = {
        WEIGHTS: (model.weights, weights_files(recipe, lock, formats)),
        LORA: (model.lora, lora_files(recipe, lock, formats)),
        MMPROJ: (model.mmproj, mmproj_files(recipe, lock, formats)),
    }
    parts = {
        role: Part(role=role, source=source, format=found.format, files=found.files, folder=found.folder)
        for role, (source, found) in chosen.items()
        if source is not None and found is not None
    }
    if model.imatrix is not None:
        files = lock.sources[model.imatrix].files
        imatrix = model.imatrix, pick(files, model.imatrix, "importance matrix", (".imatrix", ".dat", ".gguf"))
    template = None
    if model.template is not None:
        files = lock.sources[model.template].files
        template = model.template, pick(files, model.template, "chat template", (".jinja", ".jinja2", ".j2", ".txt"))
    converted = {role: stage.output for role, stage in lock.convert.items()}
    return ModelParts(weights=parts.pop(WEIGHTS), beside=parts, imatrix=imatrix, converted=converted, template=template)
