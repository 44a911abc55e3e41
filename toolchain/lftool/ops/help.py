"""`lftool help`: the documentation that ships with the package."""

from __future__ import annotations

import difflib
from pathlib import Path

from attrs import frozen

import lftool
from lftool.errors import UsageError

ROOMS = ("tutorial", "how-to", "reference", "explanation")


@frozen(kw_only=True)
class Topic:
    """A page: its name, its title, and its path."""

    name: str
    room: str
    title: str
    path: Path


def _folder() -> Path:
    """Return the folder of the pages: in the wheel, or in the checkout of an editable install."""
    package = Path(lftool.__file__).parent
    shipped = package / "pages"
    return shipped if shipped.is_dir() else package.parent.parent / "docs"


def topics() -> list[Topic]:
    """Return all pages, by section."""
    found = []
    for room in ROOMS:
        for path in sorted((_folder() / room).glob("*.md")):
            title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
            found.append(Topic(name=path.stem, room=room, title=title, path=path))
    return found


def page(name: str) -> str:
    """Return the text of a page as Markdown.

    Raises:
        UsageError: No such page.
    """
    known = {topic.name: topic for topic in topics()}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"there is no help on {name!r}{meant}", hints=("all topics: lftool help",))
    return known[name].path.read_text(encoding="utf-8")
