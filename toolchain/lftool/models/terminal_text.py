"""Text from files, servers and models on its way to a terminal: what could steer it is spelt out."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` with control and direction characters spelt out; line breaks stay."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)
