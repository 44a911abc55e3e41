"""The chat page: three static files, and the headers that keep it from loading or running anything else."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

_FOLDER = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", b"text/html; charset=utf-8"),
    "/chat.css": ("chat.css", b"text/css; charset=utf-8"),
    "/chat.js": ("chat.js", b"text/javascript; charset=utf-8"),
}
# What a model says is shown by this page: nothing of it may run, or reach another site. native/page.cpp sends the same.
HEADERS = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)


@frozen(kw_only=True)
class PageFile:
    """A file of the page.

    Attributes:
        kind: Its media type.
        data: Its bytes.
    """

    kind: bytes
    data: bytes


def page_files() -> dict[str, PageFile]:
    """Return the files by the paths that they are served at."""
    return {path: PageFile(kind=kind, data=(_FOLDER / name).read_bytes()) for path, (name, kind) in _FILES.items()}
