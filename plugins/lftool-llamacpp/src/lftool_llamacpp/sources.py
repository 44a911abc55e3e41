"""The source distributions of llama-cpp-python that this plugin runs code of, by the digest of their bytes.

The digests are those that the Python package index publishes. A version that is not listed is not run: what an index
delivers under a name alone proves nothing.
"""

from __future__ import annotations

import contextlib
from importlib import metadata
from typing import TYPE_CHECKING

from packaging.version import Version

from lftool.api import Digest, ToolArchive, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

KNOWN = {"0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"}


def scripts_version() -> str:
    """Return the release whose scripts convert: the installed llama-cpp-python, else the newest known one.

    The scripts are fetched as source. They need nothing that is compiled.
    """
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("llama-cpp-python")
    return max(KNOWN, key=Version)


def source_archive(version: str, members: Sequence[str]) -> ToolArchive:
    """Return the source distribution of a llama-cpp-python.

    Args:
        version: Of llama-cpp-python.
        members: Globs of what is needed of it.

    Raises:
        UnavailableError: This plugin does not know that version.
    """
    if version not in KNOWN:
        raise UnavailableError(
            f"this lftool-llamacpp needs llama-cpp-python {', '.join(KNOWN)}, but {version} is installed",
            hints=(f"pip install 'llama-cpp-python=={max(KNOWN)}'", "or a newer lftool-llamacpp"),
        )
    return ToolArchive(
        uri=f"pypi:llama-cpp-python=={version}",
        sha256=Digest(KNOWN[version]),
        include=("*.tar.gz",),
        members=tuple(members),
    )
