"""Which xllamacpp is installed, and which llama.cpp it is."""

from __future__ import annotations

from importlib import metadata

NAME = "xllamacpp"


def versions() -> dict[str, str]:
    """Return the versions of xllamacpp and of its llama.cpp, whose build is the last part of the former."""
    version = metadata.version(NAME)
    return {NAME: version, "llama.cpp": f"b{version.rpartition('.')[2]}"}
