"""The model in a folder, as `lftool init` finds it: which files, what kind, what its card says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from attrs import frozen

from lftool.bundle.bundle_files import stem_of
from lftool.bundle.model_card import model_card
from lftool.errors import FormatError, StorageError, UsageError
from lftool.formats.gguf_names import SPLIT, whole_name
from lftool.formats.gguf_read import read_gguf
from lftool.formats.model_kind import model_kind
from lftool.models.names import check_name

_LICENSE = re.compile(r"^license:[ \t]*[\"']?([A-Za-z0-9.+-]+)[\"']?[ \t]*$", re.MULTILINE)
_MOST_CARD, _MOST_CONFIG = 64 * 1024, 1024 * 1024
_PLAIN_TYPES = frozenset({"F32", "F16", "BF16"})


@frozen(kw_only=True)
class FoundModel:
    """A model, and what its files say about it; None for what they do not say.

    Attributes:
        path: A GGUF, the first of a split GGUF, or a folder of safetensors.
        name: A name that a bundle can have.
        license: An SPDX expression.
        quantized: The type of a tensor, if the weights are quantised.
        converts: Whether it must be converted first.
        talks: Whether it generates text; an embedding model does not.
        context: How many tokens it was trained with.
    """

    path: Path
    name: str | None = None
    license: str | None = None
    quantized: str | None = None
    converts: bool = False
    talks: bool = True
    context: int | None = None


def spdx(license_name: object) -> str | None:
    """Return a model hub's name of a licence as an SPDX expression, if it is one."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression  # noqa: PLC0415 - init only

    try:
        return canonicalize_license_expression(str(license_name)) if license_name else None
    except InvalidLicenseExpression:
        return None


def bundle_name(title: object) -> str | None:
    """Return a title as a name that a bundle can have: `SmolLM2 135M Instruct` becomes smollm2-135m-instruct."""
    made = re.sub(r"[^a-z0-9._+-]+", "-", str(title or "").lower()).strip("-._+")[:64]
    try:
        check_name(made)
    except ValueError:
        return None
    return made


def ggufs_in(folder: Path) -> list[Path]:
    """Return the GGUF files in a folder; of a split one, only the first part."""
    found = []
    for path in sorted(folder.glob("*.gguf")):
        part = SPLIT.match(path.name)
        if part is None or int(part[2]) == 1:
            found.append(path)
    return found


def is_safetensors(folder: Path) -> bool:
    """Return whether a folder has a model as transformers saves it."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def models_in(folder: Path) -> list[Path]:
    """Return the models in a folder: GGUF files, and the folder itself or folders in it with safetensors."""
    found = ggufs_in(folder)
    if is_safetensors(folder):
        return [*found, folder]
    return found + [path for path in sorted(folder.iterdir()) if path.is_dir() and is_safetensors(path)]


def describe(path: Path) -> FoundModel:
    """Return what the files of a model say about it.

    Raises:
        FormatError: It is not a GGUF, or a damaged one.
        StorageError: It cannot be read.
        UsageError: It is neither a GGUF nor a folder of safetensors.
    """
    if path.is_dir():
        if not is_safetensors(path):
            raise UsageError(f"there is no model in {path}: no GGUF, and no config.json with safetensors")
        return _describe_folder(path)
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            header = read_gguf(file, size, path.name) if not SPLIT.match(path.name) else None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except FormatError:
        stem = stem_of(path)
        if stem is None:
            raise
        raise UsageError(
            f"{path} is the bundle {stem}, not weights",
            hints=(f"run it: lftool run {path}", f"or extract its weights: lftool extract {path} DIRECTORY"),
        ) from None
    if header is None:
        return FoundModel(path=path, name=bundle_name(whole_name(path.name)[:-5]), converts=True)
    card = model_card(header)
    architecture = header.metadata.get("general.architecture")
    context = header.metadata.get(f"{architecture}.context_length")
    types = {tensor.type.name for tensor in header.tensors} - _PLAIN_TYPES
    return FoundModel(
        path=path,
        name=bundle_name(card.facts.get("name")) or bundle_name(path.stem),
        license=spdx(card.facts.get("license")),
        quantized=min(types, default=None),
        talks=model_kind(header).does == "generates",
        context=context if isinstance(context, int) and context > 0 else None,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_CONFIG))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _describe_folder(folder: Path) -> FoundModel:
    config = _json(folder / "config.json")
    context = config.get("max_position_embeddings")
    try:
        with (folder / "README.md").open("rb") as file:
            card = file.read(_MOST_CARD).decode("utf-8", "replace")
    except OSError:
        card = ""
    match = _LICENSE.search(card.split("\n---", 1)[0]) if card.startswith("---") else None
    architectures = [str(item) for item in config.get("architectures") or ()]
    return FoundModel(
        path=folder,
        name=bundle_name(folder.resolve().name),
        license=spdx(match[1]) if match else None,
        converts=True,
        talks=not architectures or any("CausalLM" in item or "ConditionalGeneration" in item for item in architectures),
        context=context if isinstance(context, int) and context > 0 else None,
    )


def described_if_possible(path: Path) -> FoundModel:
    """Return what `describe` does, or only the path where the files cannot be read."""
    try:
        return describe(path)
    except (FormatError, StorageError, UsageError):
        return FoundModel(path=path)
