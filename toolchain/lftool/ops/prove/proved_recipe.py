"""Write the recipe that makes a proved file again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lftool.codec.toml_out import emit_toml
from lftool.errors import UsageError
from lftool.ops.found_model import bundle_name
from lftool.ops.init import uri_of
from lftool.ops.named_model import is_remote
from lftool.ops.user_configuration import read_configuration
from lftool.store.durable import write_durably

if TYPE_CHECKING:
    from lftool.ops.prove.proof import Proof

_COMMENT = "Written by lftool prove: makes the file that it was written about again. Then: lftool lock && lftool build"


def _uri(text: str, folder: Path) -> str:
    return text if is_remote(text) else uri_of(Path(text), folder, read_configuration().roots)


def write_recipe(found: Proof, base: str, imatrix: str | None, path: Path) -> None:
    """Write a recipe beside which `lftool build` makes the file's tensors again.

    Args:
        found: The proof.
        base: The base, as it was named.
        imatrix: The importance matrix, as it was named.
        path: Where to write.

    Raises:
        UsageError: The file's types are not explained, or something is there already.
        StorageError: It cannot be written.
    """
    guess, folder = found.guess, path.absolute().parent
    if guess.file_type is None:
        raise UsageError("no file type explains the file, so no recipe would make it")
    if path.exists():
        raise UsageError(f"{path} already exists")
    target: dict[str, object] = {"quantize": guess.file_type, "layout": "gguf"}
    if guess.overrides:
        target["overrides"] = dict(guess.overrides)
    sources: dict[str, object] = {"base": {"uri": _uri(base, folder)}}
    model: dict[str, object] = {"weights": "base"}
    if guess.through:
        model["intermediate"] = guess.through.lower()
    if imatrix is not None and guess.matrix_used:
        sources["imatrix"] = {"uri": _uri(imatrix, folder)}
        model["imatrix"] = "imatrix"
    name = bundle_name(found.file.name.rpartition(".")[0]) or "model"
    recipe = {
        "bundle": {"name": name, "version": "0.1.0"},
        "sources": sources,
        "model": model,
        "targets": {"proved": target},
    }
    write_durably(path, emit_toml(recipe, comment=_COMMENT), "recipe")
