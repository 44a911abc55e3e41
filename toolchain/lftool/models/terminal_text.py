"""Text from files, servers and models for a terminal, with escapes for whatever could control it."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Return `text` as one line: its line breaks are escaped, so that names in it cannot pass for lines of a report."""
    return text.replace("\n", "\\n")


def printable(text: str) -> str:
    """Return `text` with control and direction characters escaped. Line breaks stay."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)
