"""Open a bundle by the path that a person gives: one file, or the sidecar of a detached one."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from lftool.bundle.detached import RUNTIME, SIDECAR, WEIGHTS, opened_detached
from lftool.bundle.reader import Bundle, PlainGGUFError, read_bundle
from lftool.errors import FormatError
from lftool.store.reading import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """Yield a checked view of the bundle at `path`; its files are open during the block.

    Args:
        path: A bundle; of a detached one the sidecar, or the GGUF that lies beside it.

    Raises:
        StorageError: It cannot be read.
        FormatError: It is not a canonical bundle.
        IntegrityError: The files of a detached bundle do not belong together.
    """
    with contextlib.ExitStack() as stack:
        yield _opened(path, stack)


def sidecar_of(path: Path) -> Path | None:
    """Return the sidecar that a path means: itself, or the one beside a GGUF of that name; None if there is none."""
    if path.suffix == SIDECAR:
        return path
    beside = path.with_suffix(SIDECAR) if path.suffix == WEIGHTS else None
    return beside if beside is not None and beside.is_file() else None


def _opened(path: Path, stack: contextlib.ExitStack) -> Bundle:
    sidecar = sidecar_of(path)
    if path == sidecar:
        return stack.enter_context(opened_detached(path))
    descriptor = open_for_reading(path)
    stack.callback(os.close, descriptor)
    try:
        return read_bundle(descriptor, path.name)
    except PlainGGUFError:
        if sidecar is None:
            raise
    return stack.enter_context(opened_detached(sidecar, weights=path))


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder by name, without weights and runtimes that belong to a sidecar beside them.

    Raises:
        OSError: It cannot be read.
    """
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    sidecars = [file for file in files if file.suffix == SIDECAR]
    beside = {file.with_suffix(suffix) for file in sidecars for suffix in (WEIGHTS, RUNTIME)}
    return [file for file in files if file not in beside]


def stem_of(path: Path) -> str | None:
    """Return the name and version of the bundle at `path`; None if it is not one.

    Raises:
        StorageError: It cannot be read.
    """
    with contextlib.suppress(FormatError), opened(path) as bundle:
        return bundle.manifest.stem
    return None
