"""Files in the project, `file:PATH`, and in the user's named roots, `file://ROOT/PATH`; opens nothing else."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from lftool.api import FetchError, Resolution, SourceFile, check_relative_path, is_chosen, local_file, local_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import SourceContext, SourceRequest

_PIECE = 4 * 1024 * 1024


class FileSource:
    """Opens files, folders and globs below the recipe's folder or a named root."""

    def __init__(self, context: SourceContext) -> None:
        self._files = context.files
        self._known: dict[SourceRequest, tuple[str, ...]] = {}

    def _chosen(self, request: SourceRequest) -> tuple[str, ...]:
        """Return the paths of a request. Walks the tree only once, although `open` asks for every file."""
        if request not in self._known:
            found = local_files(request.uri, self._files, request.include)
            self._known[request] = tuple(name for name in found if is_chosen(name, request.include, request.exclude))
        return self._known[request]

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return the requested files; their content is the revision."""
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
        files = []
        for name in sorted(chosen):
            with local_file(request.uri, name, self._files) as opened:
                files.append(SourceFile(path=name, size=os.fstat(opened.fileno()).st_size))
        return Resolution(revision=None, files=tuple(files))

    @contextlib.contextmanager
    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> Iterator[Iterator[bytes]]:
        """Yield the file's bytes from `offset` on."""
        del revision, size  # content is the revision, checked by the core, which reads whole files
        if file.path not in self._chosen(request):
            raise FetchError(f"source {request.uri!r}: {file.path} no longer exists")
        try:
            with local_file(request.uri, file.path, self._files) as opened:
                opened.seek(offset)
                yield iter(lambda: opened.read(_PIECE), b"")
        except OSError as error:
            raise FetchError(f"source {request.uri!r}: cannot read {file.path}: {error.strerror}") from error
