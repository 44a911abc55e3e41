"""Files beside the recipe: `file:` URIs are relative to it and stay inside its tree."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from lftool.api import Resolution, SourceFile, is_chosen
from lftool.errors import FetchError, RecipeError
from lftool.models.globs import glob_pattern
from lftool.models.lock import check_relative_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lftool.api import SourceContext, SourceRequest

_PIECE = 4 * 1024 * 1024
_MAGIC_CHARACTERS = re.compile(r"[*?\[]")


class FileSource:
    """Opens files, folders and globs below the recipe's folder."""

    def __init__(self, context: SourceContext) -> None:
        self._root = context.project.resolve()
        self._known: dict[SourceRequest, dict[str, Path]] = {}

    def _path_of(self, uri: str) -> str:
        path = uri.removeprefix("file:")
        if path.startswith("/") or not path:
            raise RecipeError(
                f"source {uri!r}: file: paths are relative to the recipe",
                hints=("copy or link the file into the recipe's folder, and write file:NAME",),
            )
        if ".." in path.split("/"):
            raise RecipeError(f"source {uri!r} leaves the recipe's folder")
        return "/".join(part for part in path.split("/") if part not in {"", "."}) or "."

    def _inside(self, path: Path, uri: str) -> Path:
        """Return the real path, which must not have left the tree through a symlink."""
        real = path.resolve()
        if not real.is_relative_to(self._root):
            raise RecipeError(
                f"source {uri!r}: {path.relative_to(self._root)} is a symlink that leaves the recipe's folder"
            )
        return real

    def _walk(self, folder: Path, uri: str) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            real = self._inside(path, uri)
            if real.is_dir():
                if path.is_symlink():
                    raise RecipeError(f"source {uri!r}: {path.relative_to(self._root)} is a symlink to a folder")
                yield from self._walk(path, uri)
            elif real.is_file():
                yield path

    def _select(self, uri: str) -> Iterator[tuple[str, Path]]:
        """Yield (path within the source, path on disk)."""
        wanted = self._path_of(uri)
        magic = _MAGIC_CHARACTERS.search(wanted)
        if magic:
            base = self._root / wanted[: magic.start()].rpartition("/")[0]
            pattern = glob_pattern(wanted)
            for path in self._walk(base, uri) if base.is_dir() else ():
                if pattern.match(path.relative_to(self._root).as_posix()):
                    yield path.relative_to(base).as_posix(), path
            return
        path = self._root / wanted
        if not path.exists():
            raise FetchError(f"source {uri!r}: there is no {path}")
        if self._inside(path, uri).is_dir():
            for found in self._walk(path, uri):
                yield found.relative_to(path).as_posix(), found
        elif not path.is_file():
            raise FetchError(f"source {uri!r}: {path} is not a regular file")
        else:
            yield path.name, path

    def _chosen(self, request: SourceRequest) -> dict[str, Path]:
        """Return path to file of a request, walking the tree once: `open` asks again for every file."""
        if request not in self._known:
            self._known[request] = self._choose(request)
        return self._known[request]

    def _choose(self, request: SourceRequest) -> dict[str, Path]:
        return {
            name: path for name, path in self._select(request.uri) if is_chosen(name, request.include, request.exclude)
        }

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return the files that the request means; their content is the revision."""
        chosen = self._chosen(request)
        if not chosen:
            raise FetchError(f"source {request.uri!r}: no file matches")
        for name in chosen:
            try:
                check_relative_path(name)
            except ValueError as error:
                raise FetchError(
                    f"source {request.uri!r}: {error}", hints=("rename the file, or leave it out with `exclude`",)
                ) from None
        files = tuple(SourceFile(path=name, size=path.stat().st_size) for name, path in sorted(chosen.items()))
        return Resolution(revision=None, files=files)

    @contextlib.contextmanager
    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> Iterator[Iterator[bytes]]:
        """Yield the file's bytes from `offset` on."""
        del revision, size  # content is the revision, and the core checks it; it asks for whole files
        path = self._chosen(request).get(file.path)
        if path is None:
            raise FetchError(f"source {request.uri!r}: {file.path} is not there any more")
        try:
            with self._inside(path, request.uri).open("rb") as opened:
                opened.seek(offset)
                yield iter(lambda: opened.read(_PIECE), b"")
        except OSError as error:
            raise FetchError(f"source {request.uri!r}: cannot read {file.path}: {error.strerror}") from error
