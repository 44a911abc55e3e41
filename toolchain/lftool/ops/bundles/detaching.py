"""`lftool detach` and `lftool attach`: a bundle as bare weights with a sidecar, and as one file again, bit for bit."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import hashing_contents
from lftool.bundle.copying import copy_extents
from lftool.bundle.detached import RUNTIME, SIDECAR, WEIGHTS, has_runtime, opened_detached, sidecar_extents
from lftool.bundle.extents import Extents
from lftool.errors import UsageError
from lftool.ops.bundles.claims import check_documents
from lftool.ops.bundles.slices import check_claims
from lftool.store.durable import durable_file, storage_errors

if TYPE_CHECKING:
    from lftool.bundle.reader import Bundle
    from lftool.store.durable import DurableFile

# Of the file that `attach` makes, by the role of what it begins with.
_SUFFIXES = {"gguf": (".gguf", 0o644), "runtime": (".llamafile", 0o755)}
_LAYOUT_SUFFIXES = frozenset(suffix for suffix, _ in _SUFFIXES.values())


@frozen(kw_only=True)
class _Output:
    """A file to write."""

    path: Path
    mode: int
    extents: Extents


def detach_bundle(path: Path, folder: Path) -> tuple[Path, ...]:
    """Write a bundle's weights, its runtime if it has one, and a sidecar with everything else.

    Args:
        path: The bundle.
        folder: Where to write `NAME.gguf`, `NAME.runtime` and `NAME.lftool`, after the bundle's own name.

    Returns:
        The files, the sidecar last.

    Raises:
        FormatError: It is not a bundle.
        IntegrityError: A content does not match the manifest; nothing is written.
        UsageError: A file exists already.
        StorageError: A file cannot be read or written.
    """
    with opened(path) as bundle:
        if bundle.detached:
            raise UsageError(f"{path.name}: it is detached already")
        name = path.stem if path.suffix in _LAYOUT_SUFFIXES else path.name
        start, size = bundle.weights_extent()
        outputs = [_Output(path=folder / f"{name}{WEIGHTS}", mode=0o644, extents=_part(bundle, start, size))]
        if has_runtime(bundle.manifest):
            runtime = _part(bundle, 0, bundle.manifest.prefix.size)
            outputs.append(_Output(path=folder / f"{name}{RUNTIME}", mode=0o755, extents=runtime))
        sidecar = sidecar_extents(bundle, bundle.signatures)
        outputs.append(_Output(path=folder / f"{name}{SIDECAR}", mode=0o644, extents=sidecar))
        folder.mkdir(parents=True, exist_ok=True)
        _write_checked(bundle, outputs)
    return tuple(item.path for item in outputs)


def attach_bundle(
    sidecar: Path, output: Path | None = None, weights: Path | None = None, runtime: Path | None = None
) -> Path:
    """Write the bundle that a sidecar and the files beside it are parts of.

    Args:
        sidecar: `NAME.lftool`.
        output: Where to write; None for `NAME` with the layout's suffix, in a folder `attached` if that exists.
        weights: The GGUF; None for `NAME.gguf`.
        runtime: The runtime; None for `NAME.runtime`.

    Raises:
        FormatError: The sidecar is not canonical.
        IntegrityError: A file is not what the bundle was made of; nothing is written.
        UsageError: The output exists already.
        StorageError: A file cannot be read or written.
    """
    with opened_detached(sidecar, weights, runtime) as bundle:
        suffix, mode = _SUFFIXES[bundle.manifest.prefix.role]
        chosen = output or _free(sidecar.with_suffix(suffix))
        chosen.absolute().parent.mkdir(parents=True, exist_ok=True)
        _write_checked(bundle, [_Output(path=chosen, mode=mode, extents=bundle.extents)])
    return chosen


def _free(path: Path) -> Path:
    """Return the path, or one in a folder beside it if there is such a file: weights may have the name of the bundle."""
    return path.parent / "attached" / path.name if path.exists() else path


def _part(bundle: Bundle, start: int, size: int) -> Extents:
    return Extents.joined(bundle.extents.between(start, size))


def _write_checked(bundle: Bundle, outputs: list[_Output]) -> None:
    """Copy parts while every content is hashed; name the files once all is as the manifest says."""
    for item in outputs:
        if item.path.exists():
            raise UsageError(f"{item.path} already exists", hints=("write elsewhere: -o",))
    check_documents(bundle)
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        files = [(item, stack.enter_context(durable_file(item.path.absolute().parent, "bundle"))) for item in outputs]
        with ThreadPoolExecutor(1, thread_name_prefix="copy") as pool:
            copying = [pool.submit(copy_extents, item.extents, out.file.fileno(), stop) for item, out in files]
            try:
                with hashing_contents(bundle):
                    pass
                check_claims(bundle)
                for done, (item, _) in zip(copying, files, strict=True):
                    with storage_errors("write", item.path):
                        done.result()
            except BaseException:
                stop.set()
                raise
        _name(files)


def _name(files: list[tuple[_Output, DurableFile]]) -> None:
    """Give all files their names, or none."""
    named: list[Path] = []
    try:
        for item, out in files:
            out.commit(item.path, mode=item.mode, replace=False)
            named.append(item.path)
    except BaseException:
        for path in named:
            path.unlink(missing_ok=True)
        raise
