"""Recognise unexpected files by their first bytes, and describe each in plain words with a remedy."""

from __future__ import annotations

from attrs import frozen

# git-lfs's docs/spec.md: a pointer is text that begins like this, and has at most 1024 bytes.
_POINTER, MOST_POINTER_BYTES = b"version https://git-lfs.github.com/spec/v1\n", 1024
HEAD_BYTES = 512
_LEAST_TEXT = 12


@frozen
class Found:
    """A description of a file, as a noun with its article, and what to do."""

    noun: str
    hint: str


def recognised(head: bytes, size: int) -> Found | None:
    """Return a description of a file that is neither weights nor part of a model; None if it is not recognised.

    Args:
        head: The first bytes of the file, up to `HEAD_BYTES`.
        size: Size of the file in bytes.
    """
    if head.startswith(_POINTER) and size <= MOST_POINTER_BYTES:
        return Found("a Git LFS pointer, not the file itself", "fetch the file: git lfs pull")
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return Found(
            "a web page, not the file itself", "open the address in a browser: it may show a login or an error"
        )
    if head.startswith(b"MZqFpD"):  # an Actually Portable Executable, such as Mozilla's llamafile
        return Found("a Mozilla llamafile", "extract its GGUF (it is a ZIP) and use that: unzip FILE '*.gguf'")
    return None


def is_text(head: bytes) -> bool:
    """Return whether a file seems to be text, by its first bytes; GGUFs, and what makes bundles start, have zeros early."""
    return len(head) >= _LEAST_TEXT and b"\0" not in head and not head.startswith(b"#!")
