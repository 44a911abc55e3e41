"""Exporters: what others need to run a bundle, made of the bundle: images, manifests, listings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import Factory, field, frozen
from attrs.validators import instance_of

from lftool.api.launching import ModelSize
from lftool.api.opened import OpenedBundle


@frozen(kw_only=True)
class ExportRequest:
    """A bundle to export. Every byte of it has been compared with its manifest.

    Attributes:
        bundle: The bundle.
        model: What it takes of memory, with a cache for as many requests as its server answers at once.
        folder: Of a record that writes a folder: an empty one to fill. Else None.
        destination: What that folder is called once `export` has returned.
    """

    bundle: OpenedBundle
    model: ModelSize
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
