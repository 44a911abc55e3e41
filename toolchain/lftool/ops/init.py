"""`lftool init`: a recipe to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.codec.recipes import parse_recipe
from lftool.codec.toml_out import toml_string
from lftool.errors import UsageError
from lftool.models.lock import RECIPE_NAME
from lftool.models.names import check_name
from lftool.store.durable import storage_errors, write_durably

if TYPE_CHECKING:
    from pathlib import Path

_TEMPLATE = """\
# A recipe for lftool. `lftool lock` pins what it names, `lftool build` makes the bundles.
# Every key: lftool help recipe

[bundle]
name = "{name}"
version = "0.1.0"
# license = "Apache-2.0"

[sources.base]
uri = {uri}

[model]
weights = "base"

[targets.q4]
quantize = "Q4_K_M"
layout = "llamafile"        # starts by itself; "gguf" is a GGUF that llama.cpp loads by path

[run]
context = 2048
temperature = 0.7

# [sign]
# key = "env:LFTOOL_SIGNING_KEY"   # or "file:release.key"; make one with `lftool keygen -o release`
"""


def start_project(directory: Path, name: str | None) -> Path:
    """Write a recipe into `directory`, naming the GGUF there if there is exactly one; return its path.

    Raises:
        UsageError: There is a recipe already, or the name cannot name a bundle.
        StorageError: It cannot be written.
    """
    path = directory / RECIPE_NAME
    if path.exists():
        raise UsageError(f"{path} exists already")
    models = sorted(found.name for found in directory.glob("*.gguf"))
    uri = f"file:{models[0]}" if len(models) == 1 else "file:model.gguf"
    chosen = name or directory.resolve().name
    try:
        check_name(chosen)
    except ValueError as error:
        raise UsageError(str(error), hints=("give a name: lftool init --name NAME",)) from None
    text = _TEMPLATE.format(name=chosen, uri=toml_string(uri)).encode()
    parse_recipe(text, RECIPE_NAME)
    with storage_errors("create", directory):
        directory.mkdir(parents=True, exist_ok=True)
    write_durably(path, text, "recipe")
    return path
