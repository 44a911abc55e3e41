"""`lftool init`: write a recipe to start from."""

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

{target}
[run]
context = 2048
temperature = 0.7

{sign}"""
_QUANTIZED = """\
[targets.q4]
quantize = "Q4_K_M"
layout = "llamafile"        # starts by itself; "gguf" is a GGUF that llama.cpp loads by path
"""
_AS_GIVEN = """\
[targets.whole]             # the weights as they are
layout = "gguf"             # llama.cpp loads it by path; "llamafile" starts by itself
# quantize = "Q4_K_M"       # needs a quantizer: pip install 'lftool[cpu]'
"""
_SIGNED = """\
[sign]
key = {key}
"""
_UNSIGNED = """\
# [sign]
# key = "env:LFTOOL_SIGNING_KEY"   # or "file:release.key"; make one with `lftool keygen -o release`
"""


def _only(directory: Path, pattern: str) -> str | None:
    found = sorted(path.name for path in directory.glob(pattern))
    return f"file:{found[0]}" if len(found) == 1 else None


def start_project(directory: Path, name: str | None, *, quantizes: bool) -> Path:
    """Write a recipe into `directory`; return its path.

    It names the GGUF and the signing key in `directory`, if there is exactly one of each.

    Args:
        directory: The folder, created if missing.
        name: Name of the bundle; None for the folder's name.
        quantizes: Whether a quantizer is installed. Without one, the recipe packs the weights unchanged.

    Raises:
        UsageError: A recipe exists already, or the name is not valid for a bundle.
        StorageError: It cannot be written.
    """
    path = directory / RECIPE_NAME
    if path.exists():
        raise UsageError(f"{path} already exists")
    uri, key = _only(directory, "*.gguf") or "file:model.gguf", _only(directory, "*.key")
    chosen = name or directory.resolve().name
    try:
        check_name(chosen)
    except ValueError as error:
        raise UsageError(str(error), hints=("give a name: lftool init --name NAME",)) from None
    text = _TEMPLATE.format(
        name=chosen,
        uri=toml_string(uri),
        target=_QUANTIZED if quantizes else _AS_GIVEN,
        sign=_UNSIGNED if key is None else _SIGNED.format(key=toml_string(key)),
    ).encode()
    parse_recipe(text, RECIPE_NAME)
    with storage_errors("create", directory):
        directory.mkdir(parents=True, exist_ok=True)
    write_durably(path, text, "recipe")
    return path
