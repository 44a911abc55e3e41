"""`lftool extract`: write the parts of a bundle as files, once all have been checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import check_contents
from lftool.bundle.extraction import extract
from lftool.ops.bundles.claims import check_documents
from lftool.ops.bundles.slices import check_claims

if TYPE_CHECKING:
    from pathlib import Path


def extract_bundle(path: Path, directory: Path) -> list[Path]:
    """Write the parts of the bundle at `path` below `directory`; return their paths.

    Raises:
        IntegrityError: A content does not match the manifest; nothing is written.
        UsageError: The folder is not empty.
        StorageError: It cannot be written.
    """
    with opened(path) as bundle:
        check_documents(bundle)
        check_contents(bundle)
        check_claims(bundle)
        return extract(bundle, directory)
