"""A model that a user names on the command line, without a recipe: a path, or the URI of a source.

`lftool run X` and `lftool pack X` make a project of it in the cache: its lock pins what X meant the first time, so that
the same command runs the same bytes again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.codec.recipes import parse_recipe
from lftool.codec.toml_out import emit_toml
from lftool.errors import UsageError
from lftool.formats.gguf_names import SPLIT, is_model_name, whole_name
from lftool.models.lock import LOCK_NAME, RECIPE_NAME
from lftool.models.recipe import SourceSpec
from lftool.ops.found_model import bundle_name, describe
from lftool.ops.project import Project
from lftool.pipeline.sources.called import Called
from lftool.pipeline.sources.resolve import ask
from lftool.store.durable import write_durably
from lftool.store.places import cache_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.pipeline.ports import Ports

ROOT = "model"  # name of the root that the folder of a local model is
_FOLDER = "named-v1"
_TAGGED = re.compile(r"(?P<uri>.+[^/:]):(?P<tag>[A-Za-z][A-Za-z0-9_.-]*)\Z")
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*:")
_PREFERRED = "Q4_K_M"  # of several quantisations where none is named; Ollama takes the same
_GLOB = re.compile(r"[*?[\]]")


@frozen(kw_only=True)
class NamedModel:
    """A model as a source of a recipe.

    Attributes:
        uri: The source.
        include: Globs of its files.
        name: What the bundle is called.
        license: An SPDX expression, if known.
        quantized: Whether the weights are quantised already, as far as that is known.
        roots: Folders that its project may read besides its own.
        told: What to tell the user about the choice.
    """

    uri: str
    include: tuple[str, ...] = ()
    name: str
    license: str | None = None
    quantized: bool = False
    roots: Mapping[str, str] = field(factory=dict)
    told: str = ""


def is_remote(text: str) -> bool:
    """Return whether a name is a URI of a source."""
    return _REMOTE.match(text) is not None and not Path(text).exists()


def local_model(path: Path) -> NamedModel:
    """Return the model at a path: a GGUF, or a folder of safetensors.

    Raises:
        FormatError: It is not a GGUF, or a damaged one.
        StorageError: It cannot be read.
        UsageError: It is neither.
    """
    found = describe(path)
    whole = path.resolve()
    include = (f"{whole_name(whole.name)[:-5]}-*-of-*.gguf",) if SPLIT.match(whole.name) else ()
    uri = f"file://{ROOT}" if include else f"file://{ROOT}/{whole.name}"
    return NamedModel(
        uri=uri,
        include=include,
        name=found.name or bundle_name(whole.stem) or "model",
        license=found.license,
        quantized=found.quantized is not None,
        roots={ROOT: str(whole.parent)},
    )


def _literal(path: str) -> str:
    """Return a glob that matches exactly this path, as far as globs can say that."""
    return _GLOB.sub("?", path)


def _chosen(paths: Sequence[str], tag: str | None, uri: str) -> tuple[tuple[str, ...], str]:
    """Return globs of the files of one model of a source, and what to tell."""
    models: dict[str, list[str]] = {}
    for path in paths:
        if path.endswith(".gguf") and is_model_name(path):
            models.setdefault(whole_name(path), []).append(path)
    if tag is not None:
        fitting = [name for name in models if tag.lower() in name.rpartition("/")[2].lower()]
    elif len(models) > 1:
        fitting = [name for name in models if _PREFERRED.lower() in name.lower()]
    else:
        fitting = list(models)
    if len(fitting) == 1:
        told = f"picked {fitting[0]} of {len(models)} models" if len(models) > 1 else ""
        return tuple(map(_literal, models[fitting[0]])), told
    if not models and tag is None:
        return (), ""  # safetensors, or a plugin's format: the lock looks
    shown = ", ".join(sorted(models)) or "no GGUF"
    if not fitting:
        why = f"has no GGUF for {tag}" if tag else "has several models"
        raise UsageError(f"{uri} {why}; it has {shown}", hints=(f"name one, such as {uri}:Q8_0",))
    raise UsageError(f"{uri}: {tag or _PREFERRED} names several models: {', '.join(sorted(fitting))}")


def remote_model(text: str, ports: Ports) -> NamedModel:
    """Return the model that a URI names; asks the source what it has.

    A tag behind a colon picks one of the GGUF files of a repository: `hf://org/repo:Q4_K_M`.

    Raises:
        UsageError: It has several models, or none for the tag.
        FetchError: The source has no such thing, or does not respond.
    """
    match = _TAGGED.match(text) if text.startswith("hf:") else None
    uri, tag = (match["uri"], match["tag"]) if match else (text, None)
    if uri.partition("#")[0].partition("?")[0].endswith(".gguf"):
        title = uri.partition("#")[0].partition("?")[0].rpartition("/")[2][:-5]
        return NamedModel(uri=uri, name=bundle_name(title) or "model")
    _, found = ask(SourceSpec(uri=uri), Called("base", uri), ports)
    include, told = _chosen([file.path for file in found.files], tag, uri)
    title = whole_name(include[0]).rpartition("/")[2][:-5] if include else re.split(r"[@?#]", uri)[0].rpartition("/")[2]
    return NamedModel(uri=uri, include=include, name=bundle_name(title) or "model", told=told)


def recipe_of(model: NamedModel, quantize: Sequence[str], layout: str) -> bytes:
    """Return the recipe of a model: one target for each type, or one with the weights as they are."""
    source: dict[str, object] = {"uri": model.uri}
    if model.include:
        source["include"] = list(model.include)
    targets = {kind.lower(): {"quantize": kind, "layout": layout} for kind in quantize} or {"whole": {"layout": layout}}
    bundle = {"name": model.name, "version": "0.1.0", **({"license": model.license} if model.license else {})}
    return emit_toml({"bundle": bundle, "sources": {"base": source}, "model": {"weights": "base"}, "targets": targets})


@frozen(kw_only=True)
class NamedProject:
    """The project of a named model in the cache.

    Attributes:
        project: The project.
        roots: Folders that it may read besides its own.
        told: What to tell the user about the choice of the model.
        upgrade: Whether its pins are to move, if it has any.
    """

    project: Project
    roots: Mapping[str, str] = field(factory=dict)
    told: str = ""
    upgrade: bool = False


def named_project(
    text: str, ports: Ports, quantize: Sequence[str] = (), layout: str = "gguf", *, upgrade: bool = False
) -> NamedProject:
    """Return the project of a model: the same for the same request.

    A URI is looked up once: what it meant then stays pinned. A path means the file that is there now.

    Args:
        text: A path or a URI.
        ports: Ports of no project.
        quantize: File types; none for the weights as they are.
        layout: The layout.
        upgrade: Whether to ask again what a URI means.

    Raises:
        UsageError: There is no such model, or several.
        FetchError: The source has no such thing, or does not respond.
        StorageError: The project cannot be written.
    """
    remote = is_remote(text)
    request = repr((text if remote else str(Path(text).resolve()), tuple(quantize), layout))
    folder = cache_root() / _FOLDER / hashlib.sha256(request.encode()).hexdigest()[:16]
    path = folder / RECIPE_NAME
    if remote and not upgrade and (folder / LOCK_NAME).exists():
        return NamedProject(project=Project(root=folder, recipe=parse_recipe(path.read_bytes(), RECIPE_NAME)))
    model = remote_model(text, ports) if remote else local_model(Path(text))
    data = recipe_of(model, quantize, layout)
    write_durably(path, data, "recipe")
    project = Project(root=folder, recipe=parse_recipe(data, RECIPE_NAME))
    return NamedProject(project=project, roots=model.roots, told=model.told, upgrade=upgrade or not remote)
