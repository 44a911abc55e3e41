"""Exporters: what others need to run a bundle, made of the bundle: images, manifests, listings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from attrs import Factory, field, frozen
from attrs.validators import instance_of

from lftool.api.launching import ModelSize
from lftool.formats.gguf_read import GGUFHeader
from lftool.models.digest import Digest


@frozen(kw_only=True)
class ExportedMember:
    """A member of a bundle: its path, its role, and its size in bytes."""

    path: str
    role: str
    size: int


@frozen(kw_only=True)
class ExportRequest:
    """A bundle to export. Every byte of it has been compared with its manifest.

    Attributes:
        file: The very file that was checked, open for reading. Messages call it `bundle`.
        bundle: What its file is called.
        size: Of the file, in bytes.
        name: Of the bundle, as the recipe has it.
        version: Its version.
        target: Which of the recipe's targets it is.
        layout: How it is laid out.
        backend: What it was built for.
        runtime: Name and number of the runtime that it begins with; empty where there is none.
        manifest: M, the digest of its manifest, which names it with all of its contents.
        members: What is in it besides the prefix.
        model: What the model takes of memory, with a cache for as many requests as its server answers at once.
        weights: The header of the weights: metadata and tensors.
        folder: Of a record that writes a folder: an empty one to fill. Else None.
        destination: What that folder is called once `export` has returned.
    """

    file: BinaryIO
    bundle: str
    size: int
    name: str
    version: str
    target: str
    layout: str
    backend: str
    runtime: str
    manifest: Digest
    members: tuple[ExportedMember, ...]
    model: ModelSize
    weights: GGUFHeader
    folder: Path | None = None
    destination: Path | None = None


@frozen(kw_only=True)
class Export:
    """What came of it.

    Attributes:
        text: Of a record that writes a file, its content; of one that fills a folder, what to tell.
        data: Of a record that fills a folder, what `--json` prints.
        notes: What to do next, a sentence each; they go to standard error.
    """

    text: str = field(default="", validator=instance_of(str))
    data: Mapping[str, Any] = field(default=Factory(dict), validator=instance_of(dict))
    notes: tuple[str, ...] = field(default=(), validator=instance_of(tuple))


class Exporter(Protocol):
    """An exporter with its options."""

    def export(self, request: ExportRequest) -> Export:
        """Return what was made. The same bundle and options should give the same bytes.

        Raises:
            UsageError: The bundle cannot be exported so: it has no native runtime, say.
        """
