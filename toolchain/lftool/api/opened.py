"""Bundles as plugins see them: opened, and described by what their manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from attrs import frozen

from lftool.formats.gguf_read import GGUFHeader
from lftool.models.digest import Digest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


@frozen(kw_only=True)
class BundleMember:
    """A member of a bundle: its path, its role, and its size in bytes."""

    path: str
    role: str
    size: int


@frozen(kw_only=True)
class OpenedBundle:
    """A bundle.

    Attributes:
        file: The very file that was checked, open for reading.
        path: Where it lies; messages call it by its last part.
        size: Of the file, in bytes.
        name: Of the bundle, as the recipe has it.
        version: Its version.
        target: Which of the recipe's targets it is.
        layout: How it is laid out.
        backend: What it was built for.
        runtime: Name and number of the runtime that it begins with; empty where there is none.
        manifest: M, the digest of its manifest, which names it with all of its contents.
        members: What is in it besides the prefix.
        weights: The header of the weights: metadata and tensors.
    """

    file: BinaryIO
    path: Path
    size: int
    name: str
    version: str
    target: str
    layout: str
    backend: str
    runtime: str
    manifest: Digest
    members: tuple[BundleMember, ...]
    weights: GGUFHeader


class CommandContext(Protocol):
    """What a plugin's command gets with `@click.pass_obj`."""

    def open_bundle(self, path: Path, *, check: bool = True) -> AbstractContextManager[OpenedBundle]:
        """Return a context manager over an opened bundle.

        Args:
            path: Its file.
            check: Compare every byte with the manifest; what was compared before is remembered. Without it, structure and
                manifest are sound, and no more is known.

        Raises:
            FormatError: It is no bundle.
            IntegrityError: It is not what it says.
            StorageError: It cannot be read.
        """
