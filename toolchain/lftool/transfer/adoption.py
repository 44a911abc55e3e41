"""Find files that other tools have already downloaded, by digest or by size; accepted only once hashed.

Hugging Face names blobs by the ETag, which is the sha256 of large files (huggingface_hub, "cache-system reference"). Ollama
names them `sha256-<hex>` (server/modelpath.go). LM Studio keeps files under their own names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lftool.errors import IntegrityError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.models.digest import Artifact
    from lftool.store.cas import ContentStore

LEAST_BYTES = 1_000_000  # fetching a smaller file is faster than finding it
_MOST_LOOKED_AT = 20_000


def _hugging_face() -> Path:
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "hub"


def _ollama() -> Path:
    folder = os.environ.get("OLLAMA_MODELS")
    return Path(folder) if folder else Path.home() / ".ollama" / "models"


def _lm_studio() -> Iterator[Path]:
    for folder in (Path.home() / ".lmstudio" / "models", Path.home() / ".cache" / "lm-studio" / "models"):
        looked = 0
        for root, _, names in os.walk(folder):
            for name in sorted(names):
                looked += 1
                if looked > _MOST_LOOKED_AT:
                    return
                yield Path(root) / name


def candidates(artifact: Artifact) -> Iterator[tuple[str, Path]]:
    """Yield (tool, path) of files on this machine that could be `artifact`."""
    name = artifact.sha256.hex
    for path in sorted(_hugging_face().glob(f"*/blobs/{name}")):
        yield "the Hugging Face cache", path
    yield "Ollama", _ollama() / "blobs" / f"sha256-{name}"
    for path in _lm_studio():
        yield "LM Studio", path


def adopt(artifact: Artifact, blobs: ContentStore) -> str | None:
    """Import a file of another tool into the store if one matches the artifact; return the tool's name.

    Files that cannot be read, or do not match their name, are skipped.
    """
    if artifact.size < LEAST_BYTES:
        return None
    for whose, path in candidates(artifact):
        try:
            if path.is_file() and path.stat().st_size == artifact.size:
                blobs.put_copy(path, artifact)
                return whose
        except (OSError, IntegrityError, StorageError):
            continue
    return None
