"""The site of these pages: `make docs` builds it with Sphinx, MyST and Furo (docs/adr/0018-the-docs-site.md)."""

from __future__ import annotations

import re
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "lftool"
author = "The lftool authors"
copyright = author  # noqa: A001 - Sphinx's name for it
release = metadata.version("lftool")

extensions = ["myst_parser"]
exclude_patterns = ["examples/*/src", "examples/*/tests"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
nitpicky = True

html_theme = "furo"
html_title = "lftool"
html_copy_source = False
html_show_sphinx = False

_CHAPTER = re.compile(r"^## (.+)$", re.MULTILINE)
_PAGE = re.compile(r"\]\(([^)#:]+\.md)\)")


def _toctrees(index: str) -> str:
    """Return a table of contents for each chapter of the index that links pages: the index stays plain Markdown."""
    _, *parts = _CHAPTER.split(index)
    found = []
    for chapter, body in zip(parts[::2], parts[1::2], strict=True):
        pages = list(dict.fromkeys(_PAGE.findall(body)))
        if pages:
            listed = "\n".join(pages)
            found.append(f"```{{toctree}}\n:hidden:\n:caption: {chapter}\n\n{listed}\n```\n")
    return "\n".join(found)


def _add_toctrees(_: Sphinx, page: str, source: list[str]) -> None:
    if page == "index":
        source[0] += "\n" + _toctrees(source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _add_toctrees)
