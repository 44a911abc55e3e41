"""Detached bundles: the bare weights, the runtime if there is one, and a sidecar with everything else.

The sidecar is an archive as a bundle is one, with neither prefix nor weights; so it is canonical or rejected, too. With
the files beside it, it gives every byte of the bundle: what lies between them is generated.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.extents import Extent, Extents, generated
from lftool.bundle.reader import Bundle, Documents, Framing, read_documents, signature_path
from lftool.bundle.structure import Arrangement, arrange
from lftool.errors import IntegrityError, StorageError, UsageError
from lftool.models.manifest import WEIGHTS_PATH, BundleManifest, Member, Prefix
from lftool.store.reading import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIDECAR = ".lftool"
WEIGHTS = ".gguf"
RUNTIME = ".runtime"


def sidecar_arrangement(documents: Documents) -> Arrangement:
    """Return the structure of a sidecar: the bundle's entries without the weights, behind nothing."""
    return arrange(0, [entry for entry in documents.entries() if entry.path != WEIGHTS_PATH])


def sidecar_extents(bundle: Bundle, signatures: Sequence[bytes]) -> Extents:
    """Return the bytes of a bundle's sidecar with the given signatures."""
    named = tuple(sorted((signature_path(data), data) for data in signatures))
    documents = Documents(manifest=bundle.manifest, manifest_bytes=bundle.manifest_bytes, signatures=named)
    arrangement, fresh = sidecar_arrangement(documents), dict(named)
    parts: list[Extent] = []
    for item in arrangement.members:
        path = item.entry.path
        parts.append(generated(bytes(item.gap) + item.header))
        if path in fresh:
            parts.append(generated(fresh[path]))
        else:
            parts += bundle.extents.between(bundle.placed(path).data_offset, item.entry.size)
    parts.append(generated(arrangement.directory))
    return Extents.joined(parts)


@frozen(kw_only=True)
class Beside:
    """A file that lies beside a sidecar, open.

    Attributes:
        path: The file.
        descriptor: Open for reading.
    """

    path: Path
    descriptor: int

    def require(self, size: int, sidecar: str) -> None:
        """Raise IntegrityError if the file has another size than the bundle's part."""
        found = os.fstat(self.descriptor).st_size
        if found != size:
            raise IntegrityError(
                f"{self.path.name}: {found} bytes, but {sidecar} belongs to a file of {size} bytes",
                hints=(
                    "use the file that `lftool detach` wrote: this one was rewritten by a tool, or is another bundle's",
                ),
            )


def _whole(documents: Documents, sidecar: int, weights: Beside, runtime: Beside | None) -> tuple[Arrangement, Extents]:
    """Return the structure of the bundle, and where each of its bytes lies."""
    manifest = documents.manifest
    placed = {item.entry.path: item for item in sidecar_arrangement(documents).members}
    arrangement = arrange(manifest.prefix.size, documents.entries())
    first = weights if runtime is None else runtime
    parts = [Extent(size=manifest.prefix.size, descriptor=first.descriptor)]
    for item in arrangement.members:
        parts.append(generated(bytes(item.gap) + item.header))
        if item.entry.path == WEIGHTS_PATH:
            parts.append(Extent(size=item.entry.size, descriptor=weights.descriptor))
        else:
            start = placed[item.entry.path].data_offset
            parts.append(Extent(size=item.entry.size, descriptor=sidecar, start=start))
    parts.append(generated(arrangement.directory))
    return arrangement, Extents.joined(parts)


def has_runtime(manifest: BundleManifest) -> bool:
    """Return whether a bundle begins with a runtime, which is a file of its own when detached."""
    return manifest.prefix.role == "runtime"


def read_sidecar(descriptor: int, name: str) -> Documents:
    """Return what a sidecar says, once every structural byte of it has been compared.

    Raises:
        FormatError: Not a sidecar, not canonical, or over a budget.
        StorageError: It cannot be read.
    """
    framing = Framing(descriptor, name, noun="the sidecar of a detached bundle")
    documents = read_documents(framing)
    framing.compare(sidecar_arrangement(documents))
    return documents


def read_detached(descriptor: int, name: str, weights: Beside, runtime: Beside | None, documents: Documents) -> Bundle:
    """Return a view of a detached bundle whose sidecar was read. Like that of a file, it has hashed no contents.

    Raises:
        IntegrityError: A file has another size than the bundle's part.
    """
    manifest = documents.manifest
    weights.require(manifest.weights.size, name)
    if runtime is not None:
        runtime.require(manifest.prefix.size, name)
    arrangement, extents = _whole(documents, descriptor, weights, runtime)
    return Bundle(
        extents=extents,
        name=name,
        status=os.fstat(descriptor),
        manifest=manifest,
        manifest_bytes=documents.manifest_bytes,
        arrangement=arrangement,
        signatures=tuple(data for _, data in documents.signatures),
        detached=True,
    )


@contextlib.contextmanager
def opened_detached(sidecar: Path, weights: Path | None = None, runtime: Path | None = None) -> Iterator[Bundle]:
    """Yield a checked view of a detached bundle; its files are open during the block.

    Args:
        sidecar: The file `NAME.lftool`.
        weights: The GGUF; None for `NAME.gguf` beside the sidecar.
        runtime: The runtime; None for `NAME.runtime` beside the sidecar.

    Raises:
        StorageError: A file is missing, or cannot be read.
        FormatError: The sidecar is not canonical.
        IntegrityError: A file has another size than the bundle's part.
        UsageError: A runtime was given, and the bundle has none.
    """
    with contextlib.ExitStack() as stack:
        descriptor = open_for_reading(sidecar)
        stack.callback(os.close, descriptor)
        documents = read_sidecar(descriptor, sidecar.name)
        manifest = documents.manifest
        first = _beside(weights or sidecar.with_suffix(WEIGHTS), sidecar, manifest.weights, stack)
        second = None
        if has_runtime(manifest):
            second = _beside(runtime or sidecar.with_suffix(RUNTIME), sidecar, manifest.prefix, stack)
        elif runtime is not None:
            raise UsageError(
                f"--runtime {runtime}: the bundle of {sidecar.name} has no runtime", hints=("leave it out",)
            )
        yield read_detached(descriptor, sidecar.name, first, second, documents)


def _beside(path: Path, sidecar: Path, content: Prefix | Member, stack: contextlib.ExitStack) -> Beside:
    try:
        descriptor = open_for_reading(path)
    except StorageError as error:
        option = "--runtime" if content.role == "runtime" else "--weights"
        raise StorageError(
            f"{error.message}; {sidecar.name} needs the file with sha256 {content.sha256}",
            hints=(f"put it there, or name it: lftool attach {sidecar} {option} FILE",),
        ) from error
    stack.callback(os.close, descriptor)
    return Beside(path=path, descriptor=descriptor)
