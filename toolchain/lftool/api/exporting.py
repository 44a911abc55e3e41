"""Exporters make what other tools need to run a bundle: images, manifests, listings."""

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
        model: How much memory it takes, with a cache for as many requests as its server answers concurrently.
        folder: An empty folder to fill, if the record writes a folder. Otherwise None.
        destination: Path that this folder gets after `export` has returned.
    """

    bundle: OpenedBundle
    model: ModelSize
    folder: Path | None = None
    destination: Path | None = None


@frozen(kw_only=True)
class Export:
    """The result of an export.

    Attributes:
        text: Content of the file, if the record writes a file. If it fills a folder, a message for the user.
        data: What `--json` prints, if the record fills a folder.
        notes: What to do next, one sentence each. They go to standard error.
    """

    text: str = field(default="", validator=instance_of(str))
    data: Mapping[str, Any] = field(default=Factory(dict), validator=instance_of(dict))
    notes: tuple[str, ...] = field(default=(), validator=instance_of(tuple))


class Exporter(Protocol):
    """An exporter with its options."""

    def export(self, request: ExportRequest) -> Export:
        """Return what was made. The same bundle and options should give the same bytes.

        Raises:
            UsageError: The bundle cannot be exported this way, for example because it has no native runtime.
        """
