"""metadata: give weights other keys. Only the header is written anew; the tensors' bytes are copied."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

import attrs

from lftool.bundle.copying import copy_extents
from lftool.bundle.extents import Extent, Extents, generated
from lftool.errors import NotReproducibleError, StorageError
from lftool.formats.gguf_edit import SEMANTICS
from lftool.models.lock import LockedMetadata
from lftool.models.manifest import CHUNK_SIZE
from lftool.pipeline.identity import metadata_action
from lftool.pipeline.model.header_edits import HeaderEdits, new_header, template_text
from lftool.pipeline.model.parts import WEIGHTS
from lftool.pipeline.model.weights import weights_header
from lftool.store.buffers import page_aligned_buffer
from lftool.store.durable import storage_errors
from lftool.store.hashing import Blob, BlobHasher

if TYPE_CHECKING:
    from lftool.models.digest import Artifact
    from lftool.models.lock import LockedQuantize
    from lftool.pipeline.graph.steps import Metadata
    from lftool.pipeline.ports import Ports


def metadata_entry(
    edits: HeaderEdits, weights: Artifact | LockedQuantize, template: Artifact | None, made: Artifact | None = None
) -> LockedMetadata:
    """Return the lock's entry of a metadata stage.

    Args:
        edits: What changes.
        weights: The weights, or the quantize stage that makes them.
        template: The chat template, if the recipe names one.
        made: The output, if it is known.
    """
    digest = None if template is None else template.sha256
    return LockedMetadata(
        semantics=SEMANTICS,
        template=digest,
        action=metadata_action(weights, edits.plain(digest)),
        sha256=None if made is None else made.sha256,
        size=None if made is None else made.size,
    )


def describe(
    step: Metadata,
    weights: Artifact,
    quantized: LockedQuantize | None,
    template: Artifact | None,
    ports: Ports,
) -> LockedMetadata:
    """Return the entry of weights with other keys, made now or before.

    Args:
        step: The step.
        weights: The weights as they are.
        quantized: The quantize stage that made them; None if they are as the source's.
        template: The chat template, if the recipe names one.
        ports: The store.

    Raises:
        RecipeError: The keys of the weights do not allow it.
        NotReproducibleError: The output is not the one that the lock names.
    """
    found = metadata_entry(step.edits, quantized or weights, template)
    expected = None if step.locked is None or step.locked.action != found.action else step.locked.output
    with ports.store.doing(found.action):
        known = ports.records.known(found.action, WEIGHTS, expected)
        if known is not None and ports.store.blobs.is_sound(known.output):
            with ports.stage("metadata", step.target, step.detail, cached=True):
                return attrs.evolve(found, sha256=known.output.sha256, size=known.output.size)
        with ports.stage("metadata", step.target, step.detail):
            text = "" if template is None else template_text(template, ports)
            header = new_header(step.edits, weights, text, ports)
            made = write_described(header, weights, ports)
        if expected is not None and expected != made:
            raise NotReproducibleError(
                f"targets.{step.target}, stage metadata: the lock names sha256 {expected.sha256}, this build made {made.sha256}",
                hints=("a lock of another lftool with the same rules must give the same bytes; please report this",),
            )
        ports.records.put(found.action, {WEIGHTS: made})
    return attrs.evolve(found, sha256=made.sha256, size=made.size)


def write_described(header: bytes, weights: Artifact, ports: Ports) -> Artifact:
    """Store a header and the tensor data of weights. The kernel copies; the same bytes are hashed meanwhile.

    Args:
        header: The header, up to the tensor data.
        weights: The weights, in the store.
        ports: The store.

    Raises:
        StorageError: It cannot be written.
    """
    start = weights_header(weights, "the weights", ports).data_offset
    path = ports.store.blobs.require(weights, "the weights")

    def write(out: BinaryIO) -> Blob:
        stop = threading.Event()
        with storage_errors("read", path), path.open("rb") as file, ThreadPoolExecutor(1, "copy") as pool:
            tensors = Extent(size=weights.size - start, descriptor=file.fileno(), start=start)
            parts = Extents.joined([generated(header), tensors])
            copying = pool.submit(copy_extents, parts, out.fileno(), stop)
            try:
                blob = _hashed(parts, len(header) + weights.size - start, ports)
            except BaseException:
                stop.set()
                raise
            copying.result()
        return blob

    return ports.store.blobs.put_hashed(write)


def _hashed(parts: Extents, size: int, ports: Ports) -> Blob:
    """Return name and facts of bytes that lie in several places."""
    view, position = page_aligned_buffer(CHUNK_SIZE), 0
    with BlobHasher() as hasher:
        while position < size:
            ports.check_cancelled()
            filled, wanted = 0, min(CHUNK_SIZE, size - position)
            while filled < wanted:
                came = parts.read_into(view[filled:wanted], position + filled)
                if not came:
                    raise StorageError("a file became shorter while it was copied")
                filled += came
            hasher.update(view[:filled])
            position += filled
        return hasher.finish()
