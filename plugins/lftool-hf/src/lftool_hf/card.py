"""The model card that a push writes: front matter, a table of the targets, how to verify, and what they were made from.

Pure functions. Sources: huggingface.co/docs/hub, "Model Cards" (keys of the front matter) and "Licenses".
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from lftool_hf.address import parse_address

if TYPE_CHECKING:
    from lftool.api import Publication, PublishedBundle

BEGIN, END = "<!-- lftool push: begin -->", "<!-- lftool push: end -->"
# SPDX ids to the Hub's, where they differ in more than case.
_LICENSES = {"GPL-3.0-only": "gpl-3.0", "AGPL-3.0-only": "agpl-3.0", "LGPL-3.0-only": "lgpl-3.0", "MIT-0": "mit"}
_SINGLE = re.compile(r"[A-Za-z0-9.-]+\Z")
_CELL = str.maketrans({"|": "\\|", "\n": " ", "\r": " ", "<": "&lt;"})


def hub_license(expression: str | None) -> str:
    """Return the Hub's name of an SPDX licence; `other` for an expression or a licence of its own, "" for none."""
    if not expression:
        return ""
    if not _SINGLE.match(expression) or expression.startswith("LicenseRef-"):
        return "other"
    return _LICENSES.get(expression, expression.lower())


def base_models(publication: Publication) -> list[str]:
    """Return the repositories of the Hub that the bundles were made from."""
    found: dict[str, None] = {}
    for bundle in publication.bundles:
        for source in bundle.sources:
            if source.uri.startswith("hf://") and not source.uri.startswith("hf://datasets/"):
                found[parse_address(source.uri).repository] = None
    return list(found)


def front_matter(publication: Publication) -> str:
    """Return the card's YAML. Every value is a JSON string, which is YAML as well."""
    first, lines = publication.bundles[0], ["---"]
    name = hub_license(first.license)
    if name:
        lines.append(f"license: {json.dumps(name)}")
        if name == "other":
            lines.append(f"license_name: {json.dumps(first.license)}")
    bases = base_models(publication)
    if bases:
        lines += ["base_model:", *(f"- {json.dumps(base)}" for base in bases)]
        if any(bundle.file_type for bundle in publication.bundles):
            lines.append('base_model_relation: "quantized"')
    lines += ["tags:", '- "gguf"', '- "lftool"', "---"]
    return "\n".join(lines)


def _size(count: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def _rows(publication: Publication) -> list[str]:
    figures = list(dict.fromkeys(name for bundle in publication.bundles for name in bundle.figures))
    head = ["file", "quantisation", "size", "context", *figures]
    rows = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for bundle in publication.bundles:
        main = next(file for file in bundle.files if file.role in {"weights", "bundle"})
        cells = [f"`{main.path}`", bundle.file_type or "as in the source", _size(main.size), str(bundle.context or "")]
        cells += [bundle.figures.get(name, "") for name in figures]
        rows.append(f"| {' | '.join(cell.translate(_CELL) for cell in cells)} |")
    return rows


def _made_from(bundle: PublishedBundle) -> list[str]:
    return [f"- `{source.uri}`, revision `{source.revision}`" for source in bundle.sources]


def generated(publication: Publication, repository: str) -> str:
    """Return the part of a card that a push writes and replaces, between its marks."""
    first = publication.bundles[0]
    text = (first.description or "").translate(_CELL)
    sources = list(dict.fromkeys(line for bundle in publication.bundles for line in _made_from(bundle)))
    digests = [f"| `{bundle.title}` | `{bundle.manifest}` |" for bundle in publication.bundles]
    lines = [
        BEGIN,
        f"# {first.name} {first.version}",
        "",
        *([text, ""] if text else []),
        *_rows(publication),
        "",
        "Each `.gguf` is a plain GGUF. The `.lftool` beside it has its lock, provenance and signatures: fetch both, check",
        "every byte and who signed them, and get the bundle back:",
        "",
        "```sh",
        f"lftool pull --key PUBLIC_KEY hf://{repository}",
        "```",
        "",
        "| bundle | sha256 of its manifest |",
        "|---|---|",
        *digests,
        "",
        "Made from:",
        "",
        *sources,
        "",
        END,
    ]
    return "\n".join(lines)


def card(publication: Publication, repository: str, before: str | None) -> str | None:
    """Return the card; None if one is there that no push has written: its owner's words stay.

    Args:
        publication: The bundles.
        repository: `OWNER/NAME`.
        before: The card that is there; None if there is none.
    """
    part = generated(publication, repository)
    if before is None:
        return f"{front_matter(publication)}\n\n{part}\n"
    begin, end = before.find(BEGIN), before.find(END)
    if begin < 0 or end < begin:
        return None
    return before[:begin] + part + before[end + len(END) :]
