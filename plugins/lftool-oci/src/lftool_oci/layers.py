"""From a manifest's layers to files: what each of the three kinds of model artifact calls them.

Sources: CNCF ModelPack spec v0.0.7 (`org.cncf.model.filepath`), Docker's model-distribution types, Ollama's
`application/vnd.ollama.image.*` (server/images.go). OCI artifacts of other tools name files by
`org.opencontainers.image.title`.
"""

from __future__ import annotations

from typing import Any

from lftool.api import Digest, FetchError, FormatError, SourceFile, check_relative_path

_PATH_ANNOTATIONS = ("org.cncf.model.filepath", "org.cnai.model.filepath", "org.opencontainers.image.title")
_NAMES = {
    "application/vnd.docker.ai.gguf.v3": "model.gguf",
    "application/vnd.docker.ai.mmproj": "mmproj.gguf",
    "application/vnd.docker.ai.chat.template.jinja": "chat_template.jinja",
    "application/vnd.docker.ai.license": "LICENSE",
    "application/vnd.ollama.image.model": "model.gguf",
    "application/vnd.ollama.image.projector": "projector.gguf",
    "application/vnd.ollama.image.adapter": "adapter.gguf",
    "application/vnd.ollama.image.draft": "draft.gguf",
    "application/vnd.ollama.image.template": "template",
    "application/vnd.ollama.image.system": "system",
    "application/vnd.ollama.image.license": "LICENSE",
    "application/vnd.ollama.image.params": "params.json",
    "application/vnd.ollama.image.messages": "messages.json",
}
_PACKED = (".tar", ".tar+gzip", ".tar+zstd", ".tar.gz")


def _titled(layer: dict[str, Any], what: str) -> str | None:
    """Return the path that a layer's annotations name, without `./` before it; None without one.

    Raises:
        FetchError: It leads elsewhere: `oras push` writes down an absolute path as it was given.
    """
    annotations = layer.get("annotations") or {}
    for key in _PATH_ANNOTATIONS:
        if not isinstance(annotations.get(key), str):
            continue
        title = str(annotations[key])
        path = title
        while path.startswith("./"):
            path = path[2:].lstrip("/")
        try:
            check_relative_path(path)
        except ValueError as error:
            raise FetchError(
                f"{what}: the layer {layer['digest']} is called {title!r}: {error}",
                hints=("push the files by relative paths, from their own folder",),
            ) from None
        return path
    return None


def _numbered(name: str, taken: set[str]) -> str:
    """Return a name that is free: licences and shards may come several times without one of their own."""
    stem, dot, suffix = name.partition(".")
    count, found = 1, name
    while found in taken:
        count += 1
        found = f"{stem}-{count}{dot}{suffix}"
    return found


def files_of(manifest: dict[str, Any], what: str) -> list[SourceFile]:
    """Return the files that a manifest's layers are; archives and layers without a name are left out.

    Args:
        manifest: An image manifest, parsed.
        what: What it is, for messages.

    Raises:
        FormatError: It is malformed, or has no layer that is a file.
        FetchError: A layer's name is no path inside a model, or is another's as well.
    """
    files: dict[str, SourceFile] = {}
    try:
        for layer in manifest["layers"]:
            media_type = str(layer["mediaType"])
            algorithm, _, digest = str(layer["digest"]).partition(":")
            if media_type.endswith(_PACKED):
                continue
            title = _titled(layer, what)
            name = title or _NAMES.get(media_type)
            if name is None:
                continue
            if title in files:
                raise FetchError(
                    f"{what}: two layers are called {title!r}",
                    hints=("some clients drop folders from paths; push again with one that keeps them",),
                )
            if algorithm != "sha256":
                raise FormatError(f"{what}: the layer {name} has a {algorithm} digest, expected sha256")
            free = _numbered(name, set(files))
            files[free] = SourceFile(path=free, size=int(layer["size"]), sha256=Digest(digest))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{what}: its manifest is malformed: {type(error).__name__}: {error}") from error
    if not files:
        kinds = ", ".join(sorted({str(layer.get("mediaType")) for layer in manifest["layers"]})) or "no layers"
        raise FormatError(f"{what}: no layer is a model file; it has {kinds}")
    return list(files.values())
