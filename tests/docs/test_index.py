"""The index leads to every page: the site's table of contents is made of it."""

from __future__ import annotations

import re

LINK = re.compile(r"\]\(([^)#:]+\.md)")
CHAPTERS = ("Learn", "Do", "Look up", "Understand", "Decisions")


def chapters(repository):
    """The pages that each chapter of the index links."""
    _, *parts = re.split(r"^## (.+)\n", (repository / "docs" / "index.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], (LINK.findall(text) for text in parts[1::2]), strict=True))


def test_every_page_is_in_a_chapter(repository):
    docs = repository / "docs"
    found = chapters(repository)
    linked = {page for chapter in CHAPTERS for page in found[chapter]}
    assert linked == {str(page.relative_to(docs)) for page in docs.rglob("*.md")} - {"index.md"}


def test_the_decisions_stand_in_their_order(repository):
    decisions = chapters(repository)["Decisions"]
    assert decisions == sorted(decisions)
