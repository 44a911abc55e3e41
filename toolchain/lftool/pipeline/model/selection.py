"""Pick the files of a source for each part of the model; an ambiguous choice is an error that lists the candidates.

The parts of a split GGUF count as one candidate, as do those of a safetensors model: a converter makes one GGUF.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.errors import FormatError, RecipeError
from lftool.formats.gguf_names import SPLIT, is_model_name
from lftool.models.globs import is_chosen
from lftool.models.lock import LockedFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.models.lock import Lock
    from lftool.models.recipe import Recipe

_PICKLES = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth")


_MOST_NAMED = 8

# Pieces of a file that was split by size: `NAME.gguf.part1of2`, `NAME.gguf-split-a`.
_PIECE = re.compile(r"(.+\.gguf)(\.part\d+of\d+|-split-[a-z]+|\.part\d+|\.\d{3})\Z", re.IGNORECASE)

# Files of a safetensors model that a converter reads: weights, configuration, tokenizer and model card. Never code.
_BESIDE_SAFETENSORS = (".safetensors", ".json", ".jsonl", ".jinja", ".md", ".model", ".txt", ".vocab")
# Folders that belong to a model: sentence-transformers modules that run after it (`1_Pooling`, `2_Dense`, in the order
# of its modules.json), named templates, and tokenizers for sound (llama.cpp's conversion/*.py, transformers).
_MODULES = re.compile(r"(\d+_\w+|additional_chat_templates|audio_tokenizer|speech_tokenizer)/")

# Files of a PEFT adapter that a converter reads.
_ADAPTER_CONFIG, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ADAPTER = (_ADAPTER_CONFIG, _ADAPTER_WEIGHTS, "README.md")


@frozen(kw_only=True)
class Format:
    """A plugin's format.

    Attributes:
        name: The format's name, as the converter's `consumes` states it.
        role: The role of the GGUF that the converter makes.
        recognises: Globs for paths of weights in this format.
        beside: Globs for the other files that the converter reads.
        paths: The files to read, if a lock names them.
    """

    name: str
    role: str
    recognises: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def files(self, files: tuple[LockedFile, ...]) -> tuple[LockedFile, ...]:
        """Return the files of a source that are in this format; none if there are no weights."""
        if self.paths:
            return tuple(file for file in files if file.path in self.paths)
        weights = [file for file in files if is_chosen(file.path, self.recognises, ())]
        if not weights:
            return ()
        return tuple(
            file for file in files if file in weights or (self.beside and is_chosen(file.path, self.beside, ()))
        )


@frozen(kw_only=True)
class Chosen:
    """Files of a source that form one candidate.

    Attributes:
        format: `gguf`, or the input format of a converter: `gguf-split`, `safetensors`, `peft`, or a plugin's format.
        files: Sorted by path.
        folder: Their folder in the source, with a trailing slash; empty for its root.
    """

    format: str
    files: tuple[LockedFile, ...]
    folder: str = ""


def _parts(found: list[LockedFile], source: str) -> Chosen | None:
    """Return the parts of one split GGUF, if all candidates are such parts.

    Raises:
        RecipeError: A part is missing.
    """
    parts = [SPLIT.match(file.path) for file in found]
    whole = {(match[1], match[3]) for match in parts if match}
    if not found or None in parts or len(whole) != 1:
        return None
    name, count = whole.pop()
    if int(count) == 1:
        return None  # a complete one, despite its name
    have = {int(match[2]) for match in parts if match}
    missing = sorted(set(range(1, int(count) + 1)) - have)
    if missing:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        numbers = ", ".join(str(number) for number in missing[:_MOST_NAMED]) + more
        raise RecipeError(f"source {source!r}: {name}.gguf has {int(count)} parts; missing: {numbers}")
    return Chosen(format="gguf-split", files=tuple(found))


def _safetensors(files: tuple[LockedFile, ...], source: str) -> Chosen | None:
    """Return the source's one model in safetensors, limited to the files that a converter reads.

    The model is the topmost folder that contains safetensors, with the folders that belong to it.

    Raises:
        RecipeError: There are several models.
    """
    found = {file.path.rpartition("/")[0] for file in files if file.path.endswith(".safetensors")}
    folders = sorted(f"{folder}/" if folder else "" for folder in found)
    if not folders:
        return None
    top = folders[0]
    if not all(folder.startswith(top) for folder in folders):
        named = ", ".join(folder.rstrip("/") or "." for folder in folders)
        raise RecipeError(
            f"source {source!r} has {len(folders)} folders of safetensors that could be the weights: {named}",
            hints=(f'leave the others out: exclude = ["{folders[-1]}**"] under [sources.{source}]',),
        )
    below = [(file, file.path[len(top) :]) for file in files if file.path.startswith(top)]
    belongs = [file for file, name in below if "/" not in name or _MODULES.match(name)]
    chosen = tuple(file for file in belongs if file.path.endswith(_BESIDE_SAFETENSORS))
    return Chosen(format="safetensors", files=chosen, folder=top)


def _is_gguf(file: LockedFile) -> bool:
    return file.path.lower().endswith(".gguf")


def _of_pieces(files: tuple[LockedFile, ...]) -> tuple[str, ...]:
    """Return the hint for a file in several pieces: a shell command that joins them in order."""
    pieces = [match for file in files if (match := _PIECE.match(file.path))]
    if not pieces:
        return ()
    pieces.sort(key=lambda piece: (piece[1], [int(number) for number in re.findall(r"\d+", piece[2])], piece[2]))
    joined = shlex.join(piece[0] for piece in pieces)
    return (f"these are pieces of one file; join them first: cat -- {joined} > {shlex.quote(pieces[0][1])}",)


def _of_plugins(files: tuple[LockedFile, ...], source: str, role: str, formats: Sequence[Format]) -> Chosen | None:
    """Return the files that a plugin's format recognises, in a source without other candidates.

    Raises:
        RecipeError: Several formats recognise the files.
    """
    readable = tuple(file for file in files if not file.path.endswith(_PICKLES))
    found = [
        Chosen(format=known.name, files=chosen)
        for known in formats
        if known.role == role and (chosen := known.files(readable))
    ]
    if len(found) > 1:
        raise RecipeError(
            f"source {source!r} could be {' or '.join(chosen.format for chosen in found)}",
            hints=(f"choose its files: include = [...] under [sources.{source}]",),
        )
    return found[0] if found else None


def pick(files: tuple[LockedFile, ...], source: str, role: str, suffixes: tuple[str, ...]) -> LockedFile:
    """Return the one file with one of `suffixes`, or the only file.

    Args:
        files: The source's files.
        source: Its name, for messages.
        role: The file's role, for messages.
        suffixes: Allowed endings of its name.

    Raises:
        RecipeError: There is none, or there are several.
        FormatError: A pickle checkpoint.
    """
    found = [file for file in files if file.path.lower().endswith(suffixes)]
    if not found and len(files) == 1 and not files[0].path.endswith((*_PICKLES, ".safetensors")):
        return files[0]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.path for file in found)
        part = next((match for file in found if (match := SPLIT.match(file.path))), None)
        choice = f"{part[1]}-*-of-{part[3]}.gguf" if part else found[0].path
        raise RecipeError(
            f"source {source!r} has {len(found)} files that could be the {role}: {names}",
            hints=(f'choose one: include = ["{choice}"] under [sources.{source}]',),
        )
    pickles = [file.path for file in files if file.path.endswith(_PICKLES)]
    if pickles:
        raise FormatError(
            f"source {source!r}: {pickles[0]} is a pickle checkpoint; those run code when loaded and are refused",
            hints=("use the model's GGUF or safetensors files",),
        )
    raise RecipeError(
        f"source {source!r} has no file that could be the {role}: {', '.join(f.path for f in files)}",
        hints=_of_pieces(files),
    )


def weights_files(recipe: Recipe, lock: Lock, formats: Sequence[Format]) -> Chosen:
    """Return the locked files of the model's weights: a GGUF, the parts of one, safetensors, or a plugin's format.

    Raises:
        RecipeError: There are none, or several candidates.
        FormatError: A pickle checkpoint.
    """
    name = recipe.model.weights
    files = lock.sources[name].files
    if recipe.model.mmproj == name:  # both are in one source, as registries deliver them
        files = tuple(file for file in files if not _is_projector(file))
    ggufs = [file for file in files if _is_gguf(file)]
    models = [file for file in ggufs if is_model_name(file.path)]
    if models:  # excluded by name; headers are checked once the file is here
        ggufs, files = models, tuple(file for file in files if file not in ggufs or file in models)
    found = _parts(ggufs, name)
    if not ggufs:
        found = _safetensors(files, name) or _of_plugins(files, name, "weights", formats)
    return found or Chosen(format="gguf", files=(pick(files, name, "weights", (".gguf",)),))


def _is_projector(file: LockedFile) -> bool:
    """Return whether a file is a projector by its name; llama.cpp's scripts write `mmproj-NAME.gguf`."""
    return _is_gguf(file) and "mmproj" in file.path.rpartition("/")[2]


def lora_files(recipe: Recipe, lock: Lock, formats: Sequence[Format]) -> Chosen | None:
    """Return the locked files of the recipe's LoRA adapter; None if it names none.

    Raises:
        RecipeError: There are none, or several candidates, or the weights have no configuration to convert it with.
        FormatError: A pickle checkpoint.
    """
    name = recipe.model.lora
    if name is None:
        return None
    files = lock.sources[name].files
    folders = [file.path.removesuffix(_ADAPTER_CONFIG) for file in files if file.path.endswith(_ADAPTER_CONFIG)]
    foreign = None if folders or any(map(_is_gguf, files)) else _of_plugins(files, name, "lora", formats)
    if foreign is not None:
        return foreign
    if len(folders) != 1 or any(_is_gguf(file) for file in files):
        return Chosen(format="gguf", files=(pick(files, name, "LoRA adapter", (".gguf",)),))
    paths = {folders[0] + part for part in _ADAPTER}
    found = tuple(file for file in files if file.path in paths)
    if folders[0] + _ADAPTER_WEIGHTS not in {file.path for file in found}:
        if any(file.path.endswith(_PICKLES) for file in files):
            pick(files, name, "LoRA adapter", (_ADAPTER_WEIGHTS,))  # raises the right error
        raise RecipeError(f"source {name!r} has {_ADAPTER_CONFIG} of a LoRA adapter, but no {_ADAPTER_WEIGHTS}")
    return Chosen(format="peft", files=found)


def mmproj_files(recipe: Recipe, lock: Lock, formats: Sequence[Format]) -> Chosen | None:
    """Return the locked files of the recipe's projector; None if it names none.

    Raises:
        RecipeError: There are none, or several candidates.
        FormatError: A pickle checkpoint.
    """
    name = recipe.model.mmproj
    if name is None:
        return None
    files = lock.sources[name].files
    ggufs = [file for file in files if _is_gguf(file)]
    named = tuple(file for file in ggufs if _is_projector(file))
    if ggufs and not named and name == recipe.model.weights:
        raise RecipeError(
            f"source {name!r} holds the weights, but no GGUF with mmproj in its name: there is no projector",
            hints=("name the source that has it, or leave mmproj out",),
        )
    found = None if ggufs else _safetensors(files, name) or _of_plugins(files, name, "mmproj", formats)
    return found or Chosen(format="gguf", files=(pick(named or files, name, "projector", (".gguf",)),))
