"""`lftool init`: write a recipe to start from, for the model that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import QuantizerType
from lftool.codec.recipes import parse_recipe
from lftool.codec.toml_out import toml_string
from lftool.errors import UsageError
from lftool.host.registry import is_installed
from lftool.models.lock import RECIPE_NAME
from lftool.models.names import check_name
from lftool.ops.found_model import FoundModel, describe, described_if_possible, models_in
from lftool.ops.run.backends import CPU
from lftool.store.durable import storage_errors, write_durably
from lftool.store.places import user_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lftool.host.registry import Registry

_HEAD = """\
# A recipe for lftool. `lftool lock` pins what it names, `lftool build` makes the bundles.
# Every key: lftool help recipe

[bundle]
name = {name}
version = "0.1.0"
{license}
[sources.base]
uri = {uri}

[model]
weights = "base"

"""
_QUANTIZED = """\
[targets.{name}]
quantize = "{type}"
{layout}
"""
_STARTS = 'layout = "llamafile"        # starts by itself; "gguf" is a GGUF that llama.cpp loads by path'
_LOADS = 'layout = "gguf"             # llama.cpp loads it by path; "llamafile" starts by itself'
_AS_GIVEN = """\
[targets.whole]             # the weights as they are{why}
{layout}
"""
_NO_QUANTIZER = """\
# quantize = "Q4_K_M"       # needs a quantizer: pip install 'lftool[quantize]'
"""
_RUN = """
[run]
context = {context}{trained}
temperature = 0.7
"""
_SIGNED = """
[sign]
key = {key}
"""
_UNSIGNED = """
# [sign]
# key = "env:LFTOOL_SIGNING_KEY"   # or "file:release.key"; make one with `lftool keygen -o release`
"""
_PYTHON_ENGINE = "llama-cpp-python"
_CONTEXT = 2048  # of a model that was trained with more
_SHOWN = 5  # names of models, where there are several


@frozen(kw_only=True)
class Tools:
    """What is installed, as far as a recipe depends on it.

    Attributes:
        quantizes: Whether there is a quantizer. Without one, a recipe packs the weights unchanged.
        starts: Whether bundles that start by themselves can do so here.
    """

    quantizes: bool
    starts: bool

    @classmethod
    def of(cls, registry: Registry) -> Tools:
        """Return what a registry has. Bundles that start by themselves need the engine of runtime python/1."""
        engines = [item.record.engine for item in registry.engines(CPU) if is_installed(item.record)]
        return cls(quantizes=bool(registry.all(QuantizerType)), starts=_PYTHON_ENGINE in engines)


@frozen(kw_only=True)
class StartedProject:
    """A recipe that was written, and remarks about it for the user."""

    path: Path
    told: tuple[str, ...] = ()


def uri_of(model: Path, folder: Path, roots: Mapping[str, str]) -> str:
    """Return the `file:` URI of a model in the project, or in a root of the user's.

    Raises:
        UsageError: It lies elsewhere.
    """
    path = model.resolve()
    if path.is_relative_to(folder.resolve()):
        return f"file:{path.relative_to(folder.resolve()).as_posix()}"
    for name, place in sorted(roots.items()):
        root = Path(place).expanduser().resolve()
        if path.is_relative_to(root):
            return f"file://{name}/{path.relative_to(root).as_posix()}"
    raise UsageError(
        f"{model} lies outside the project, but a recipe can only name files in its own folder or in one of your roots",
        hints=(
            f"copy it, or link it without a copy: ln {model} .",
            f'or name its folder in {user_configuration()}: [roots] models = "{path.parent}"; then run this again',
        ),
    )


def _target(model: FoundModel, tools: Tools) -> str:
    if model.quantized is not None:
        return _AS_GIVEN.format(why=f": they are quantised already ({model.quantized})", layout=_LOADS)
    if not tools.quantizes:
        return _AS_GIVEN.format(why="", layout=_LOADS) + _NO_QUANTIZER
    # Vectors lose more than texts do: docs/reference/models.md.
    name, kind = ("q4", "Q4_K_M") if model.talks else ("q8", "Q8_0")
    return _QUANTIZED.format(name=name, type=kind, layout=_STARTS if tools.starts else _LOADS)


def _recipe(model: FoundModel, name: str, uri: str, key: str | None, tools: Tools) -> str:
    license_line = f"license = {toml_string(model.license)}\n" if model.license else '# license = "Apache-2.0"\n'
    text = _HEAD.format(name=toml_string(name), license=license_line, uri=toml_string(uri))
    text += _target(model, tools)
    if model.talks:
        more = model.context is not None and model.context > _CONTEXT
        trained = f"   # tokens; the model was trained with {model.context}, which takes more memory" if more else ""
        text += _RUN.format(context=min(model.context or _CONTEXT, _CONTEXT), trained=trained)
    return text + (_UNSIGNED if key is None else _SIGNED.format(key=toml_string(key)))


def _found(folder: Path) -> tuple[FoundModel, tuple[str, ...]]:
    """Return the only model in a folder, else one to be put there; and what to tell."""
    models = models_in(folder) if folder.is_dir() else []
    if len(models) == 1:
        return described_if_possible(models[0]), ()
    missing = FoundModel(path=folder / "model.gguf")
    if not models:
        return missing, ("there is no model yet: put model.gguf here, or change the recipe's uri",)
    names = ", ".join(path.name for path in models[:_SHOWN]) + (", …" if len(models) > _SHOWN else "")
    return missing, (f"there are several models ({names}); name one: lftool init NAME, or change the recipe's uri",)


def start_project(
    what: str, name: str | None, tools: Tools, *, roots: Mapping[str, str] | None = None
) -> StartedProject:
    """Write a recipe for a model.

    Args:
        what: A folder, created if missing, in which the only model is taken; or a model: a GGUF, a folder of safetensors
            (then the project is the current folder).
        name: Name of the bundle; None for the model's own name, else the folder's.
        tools: What is installed.
        roots: Folders outside projects that the user has named.

    Raises:
        UsageError: A recipe exists already, the name is not valid for a bundle, or the model lies elsewhere.
        FormatError: The model is not one.
        StorageError: It cannot be written.
    """
    given, folder = Path(what), Path(what)
    told: tuple[str, ...] = ()
    if given.is_file() or (given.is_dir() and given.resolve() != Path.cwd() and models_in(given) == [given]):
        folder = Path()
        model = describe(given)
    elif given.suffix == ".gguf":
        raise UsageError(f"there is no {given}", hints=("name a model, or a folder for the project",))
    else:
        model, told = _found(folder)
    path = folder / RECIPE_NAME
    if path.exists():
        raise UsageError(f"{path} already exists")
    uri = uri_of(model.path, folder, roots or {})
    keys = sorted(item.name for item in folder.glob("*.key"))
    chosen = name or model.name or folder.resolve().name
    try:
        check_name(chosen)
    except ValueError as error:
        raise UsageError(str(error), hints=("give a name: lftool init --name NAME",)) from None
    key = f"file:{keys[0]}" if len(keys) == 1 else None
    text = _recipe(model, chosen, uri, key, tools).encode()
    parse_recipe(text, RECIPE_NAME)
    with storage_errors("create", folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_durably(path, text, "recipe")
    return StartedProject(path=path, told=told)
