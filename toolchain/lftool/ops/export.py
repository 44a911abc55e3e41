"""`lftool export`: let a plugin write the files that others need to run a bundle, once every byte has been checked."""

from __future__ import annotations

import errno
import shlex
from typing import TYPE_CHECKING, Any

from lftool.api import Export, ExporterType, ExportRequest
from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import weights_header
from lftool.bundle.model_size import model_size
from lftool.errors import PluginError, UsageError
from lftool.host.given_options import factory_arguments
from lftool.host.guarding import guarded
from lftool.host.registry import Registered, Registry
from lftool.host.returned import checked
from lftool.ops.opened_bundles import described
from lftool.ops.run.integrity import check_opened
from lftool.ops.run.whole import whole, whole_name
from lftool.store.durable import commit_directory, scratch_directory, storage_errors, sweep, sync_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lftool.api import ModelSize
    from lftool.bundle.reader import Bundle
    from lftool.store.store import Store

_FULL = (errno.ENOSPC, errno.EDQUOT)


def export_bundle(
    registered: Registered[ExporterType], path: Path, folder: Path | None, options: Mapping[str, Any], store: Store
) -> Export:
    """Export a bundle.

    Args:
        registered: The exporter.
        path: The bundle.
        folder: The folder to write, empty or absent, if the exporter fills one; otherwise None.
        options: Options of the exporter.
        store: Remembers checked bundles.

    Raises:
        IntegrityError: The bundle is corrupted.
        UsageError: An option is invalid, the folder is not empty, or this exporter cannot export the bundle.
        StorageError: The folder cannot be written; no part of it is left behind.
        PluginError: The exporter failed.
    """
    record, origin = registered.record, registered.origin
    arguments = factory_arguments(record, options, "exporter", f"export {record.name}", UsageError)
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is not empty", hints=(f"remove it, or name another folder: rm -r {shlex.quote(str(folder))}",)
        )
    with opened(whole(path, store)) as bundle:
        check_opened(bundle, store)
        with described(bundle, whole_name(path, bundle.manifest)) as found:
            model = _model_size(bundle, found.runtime)
            if folder is None:
                with guarded(origin, f"exporter {record.name!r}"):
                    made = record.factory(*arguments).export(ExportRequest(bundle=found, model=model))
                    return checked(made, Export, "export()", origin)
            parent = folder.absolute().parent
            sweep(parent)
            with scratch_directory(parent) as scratch:
                request = ExportRequest(bundle=found, model=model, folder=scratch, destination=folder)
                result = _filled(registered, arguments, request, folder)
                sync_files(scratch, "extract")
                commit_directory(scratch, folder.absolute(), "extract")
            return result


def _filled(
    registered: Registered[ExporterType], arguments: tuple[Any, ...], request: ExportRequest, folder: Path
) -> Export:
    try:
        with guarded(registered.origin, f"exporter {registered.record.name!r}"):
            return checked(registered.record.factory(*arguments).export(request), Export, "export()", registered.origin)
    except PluginError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL:  # not the plugin's fault
            with storage_errors("write", folder):
                raise error.__cause__ from None
        raise


def _model_size(bundle: Bundle, runtime: str) -> ModelSize:
    size = model_size(weights_header(bundle), bundle.manifest.run)
    if not runtime:
        return size
    return size.served(Registry.discovered().pinned_runtime(runtime).record.requests)
