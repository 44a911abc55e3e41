"""Detect files of sources that are something else entirely, with a plain message before a reader fails on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.bundle.bundle_files import stem_of
from lftool.errors import FormatError
from lftool.formats.recognised import HEAD_BYTES, recognised

if TYPE_CHECKING:
    from lftool.models.lock import LockedFile
    from lftool.pipeline.ports import Ports


def check_recognised(source: str, file: LockedFile, ports: Ports) -> None:
    """Raise if a file is a Git LFS pointer, a web page, or a bundle.

    Args:
        source: Name of the file's source.
        file: A file in the store.
        ports: The store.

    Raises:
        FormatError: It is one of these; the hint gives the remedy.
    """
    what = f"source {source!r}, file {file.path}"
    path = ports.store.blobs.require(file.artifact, what)
    with path.open("rb") as opened_file:
        head = opened_file.read(HEAD_BYTES)
    found = recognised(head, file.size)
    if found is not None:
        raise FormatError(f"{what}: this is {found.noun}", hints=(found.hint,))
    if head.startswith((b"GGUF", b"#!", b"\x7fELF")):
        stem = stem_of(path)
        if stem is not None:
            raise FormatError(
                f"{what}: this is the bundle {stem}, not weights",
                hints=(
                    "extract its weights and use those: lftool extract BUNDLE DIRECTORY",
                    "their sha256 is in its manifest: lftool inspect BUNDLE",
                ),
            )
