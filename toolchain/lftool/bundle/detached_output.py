"""Write a bundle detached: its contents go straight into the weights, the runtime and the sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.detached import sidecar_arrangement
from lftool.bundle.reader import Documents, signature_path
from lftool.bundle.writer import OutputFile
from lftool.models.manifest import MANIFEST_PATH, BundleManifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.bundle.structure import Arrangement
    from lftool.models.manifest import Member, Prefix


@frozen(kw_only=True)
class DetachedFiles:
    """The files of a detached bundle that are being written.

    Attributes:
        manifest: Of the bundle.
        manifest_bytes: The same, as bytes.
        weights: Receives the GGUF.
        runtime: Receives the runtime; None if the bundle has none.
        sidecar: Receives everything else.
    """

    manifest: BundleManifest
    manifest_bytes: bytes
    weights: OutputFile
    runtime: OutputFile | None
    sidecar: OutputFile

    def place(self, content: Prefix | Member, offset: int) -> tuple[OutputFile, int]:
        """Return the file for a content, and its place there; that in the bundle does not matter."""
        del offset
        if content is self.manifest.weights:
            return self.weights, 0
        if content is self.manifest.prefix and self.runtime is not None:
            return self.runtime, 0
        placed = {item.entry.path: item for item in self._arrangement(()).members}
        return self.sidecar, placed[content.path].data_offset  # type: ignore[union-attr]  # no prefix, so a member

    def write(self, data: bytes, offset: int) -> None:
        """Leave out the structure of the bundle: it is generated when the bundle is read."""

    def complete(self, signatures: Sequence[bytes]) -> None:
        """Write the structure of the sidecar, the manifest and the signatures."""
        named = tuple(sorted((signature_path(data), data) for data in signatures))
        small = {MANIFEST_PATH: self.manifest_bytes, **dict(named)}
        arrangement, file = self._arrangement(named), self.sidecar.file
        for item in arrangement.members:
            file.seek(item.header_offset - item.gap)
            file.write(bytes(item.gap) + item.header + small.get(item.entry.path, b""))
        file.seek(arrangement.directory_offset)
        file.write(arrangement.directory)
        file.flush()

    def _arrangement(self, signatures: tuple[tuple[str, bytes], ...]) -> Arrangement:
        documents = Documents(manifest=self.manifest, manifest_bytes=self.manifest_bytes, signatures=signatures)
        return sidecar_arrangement(documents)
