"""Bundles as plugins see them: opened, and described by their manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from attrs import field, frozen

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
        path: Path of the file. Messages show its last part.
        size: Size of the file in bytes.
        name: Name of the bundle, from the recipe.
        version: Version of the bundle.
        target: Target of the recipe that it was built for.
        layout: Layout of the bundle.
        backend: Backend that it was built for.
        runtime: Name and number of the runtime that it begins with; empty if there is none.
        manifest: M, the digest of its manifest, which identifies the bundle and all of its contents.
        members: Everything in it besides the prefix.
        weights: The header of the weights: metadata and tensors.
        run: The run contract, as in the manifest: `context`, `temperature`, …; only what it sets. Reals are decimal
            strings.
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
    run: Mapping[str, Any] = field(factory=dict)


class CommandContext(Protocol):
    """What a plugin's command gets with `@click.pass_obj`."""

    def open_bundle(self, path: Path, *, check: bool = True) -> AbstractContextManager[OpenedBundle]:
        """Return a context manager over an opened bundle.

        Args:
            path: Path of the bundle.
            check: Compare every byte with the manifest. Earlier comparisons are remembered. If False, only structure
                and manifest are checked.

        Raises:
            FormatError: The file is not a bundle.
            IntegrityError: Its content does not match its manifest.
            StorageError: The file cannot be read.
        """
