"""The exporter `listing`: what is in a bundle, as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.api import Export

if TYPE_CHECKING:
    from lftool.api import ExportRequest


@frozen(kw_only=True)
class Options:
    """Options of `lftool export listing`."""

    title: str | None = field(default=None, metadata={"doc": "Heading; default: name and version.", "metavar": "TEXT"})


@frozen
class Listing:
    """Every byte of the bundle has been checked before it comes here."""

    options: Options

    def export(self, request: ExportRequest) -> Export:
        """Return the text."""
        bundle = request.bundle
        lines = [
            f"# {self.options.title or f'{bundle.name} {bundle.version}'}",
            "",
            f"Target `{bundle.target}`, {bundle.size:,} bytes, manifest `sha256:{bundle.manifest}`.",
            "",
            "| member | role | bytes |",
            "|---|---|---|",
            *(f"| `{item.path}` | {item.role} | {item.size:,} |" for item in bundle.members),
        ]
        return Export(text="\n".join(lines) + "\n")
