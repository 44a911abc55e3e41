"""A publication as plain files under one prefix, with an `index.json` that lists them: for folders and buckets.

Files come first, the index last, so that whoever reads the index finds what it names. Files of earlier publications
stay, and stay listed.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Protocol

from lftool.api.publishing import PlannedItem, PublicationPlan, Published
from lftool.errors import FormatError, UsageError
from lftool.models.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lftool.api.publishing import Publication, PublishedBundle, Uploading

INDEX_NAME = "index.json"
_FORMAT = "lftool-index/1"
_MOST_INDEX = 16 * 1024 * 1024


class Shelf(Protocol):
    """Files under one prefix. Each method may raise TransientError or FetchError."""

    def find(self, path: str) -> tuple[int, Digest | None] | None:
        """Return size and, if it is known without reading the file, digest of a file; None if there is none."""

    def read(self, path: str) -> bytes | None:
        """Return a small file; None if there is none."""

    def write(self, path: str, content: Callable[[], Iterator[bytes]], size: int, sha256: Digest) -> None:
        """Write a file: others see all of it, or nothing."""


def index_entry(bundle: PublishedBundle) -> dict[str, Any]:
    """Return what `index.json` says about a bundle."""
    architecture = bundle.weights.metadata.get("general.architecture")
    facts = {
        "name": bundle.name,
        "version": bundle.version,
        "target": bundle.target,
        "layout": bundle.layout,
        "backend": bundle.backend,
        "runtime": bundle.runtime,
        "manifest_sha256": bundle.manifest.hex,
        "size": bundle.size,
        "license": bundle.license or "",
        "description": bundle.description or "",
        "architecture": architecture if isinstance(architecture, str) else "",
        "quantization": bundle.file_type,
        "parameters": bundle.parameters,
        "context": bundle.context,
        "figures": dict(sorted(bundle.figures.items())),
    }
    files = [
        {"path": file.path, "role": file.role, "size": file.size, "sha256": file.sha256.hex} for file in bundle.files
    ]
    files += [
        {"path": item.path, "role": "statement", "size": len(item.data), "sha256": Digest.of(item.data).hex}
        for item in bundle.statements
    ]
    return {**{key: value for key, value in facts.items() if value}, "files": files}


def merged_index(index: bytes | None, publication: Publication) -> bytes:
    """Return an index with the bundles of a publication in it; those of the same name, version and target are replaced.

    Args:
        index: The index that is there; None if there is none.
        publication: The bundles.

    Raises:
        FormatError: What is there is no such index.
    """
    entries = {_key(entry): entry for entry in _entries(index)}
    for bundle in publication.bundles:
        entry = index_entry(bundle)
        entries[_key(entry)] = entry
    value = {"format": _FORMAT, "bundles": [entries[key] for key in sorted(entries)]}
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _key(entry: dict[str, Any]) -> tuple[str, str, str]:
    return str(entry["name"]), str(entry["version"]), str(entry["target"])


def _entries(index: bytes | None) -> list[dict[str, Any]]:
    if index is None:
        return []
    entries: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError, KeyError, TypeError):
        value = json.loads(index)
        entries = value["bundles"] if value["format"] == _FORMAT else []
        for entry in entries:
            _ = _key(entry), [(file["path"], file["sha256"]) for file in entry["files"]]
        if entries:
            return entries
    raise FormatError(
        f"the {INDEX_NAME} that is there was not written by lftool push", hints=("push to another place",)
    )


def plan_files(publication: Publication, location: str) -> PublicationPlan:
    """Return what will be there: files and statements. The index depends on what is there already."""
    items = [
        PlannedItem(name=file.path, digest=f"sha256:{file.sha256}", size=file.size)
        for bundle in publication.bundles
        for file in bundle.files
    ]
    items += [
        PlannedItem(name=item.path, digest=f"sha256:{Digest.of(item.data)}", size=len(item.data))
        for bundle in publication.bundles
        for item in bundle.statements
    ]
    return PublicationPlan(location=location, items=tuple(items))


def publish_files(
    publication: Publication, shelf: Shelf, uploading: Uploading, location: str, *, force: bool
) -> Published:
    """Write the files of a publication that a shelf lacks, then the index.

    Args:
        publication: The bundles.
        shelf: Where to write.
        uploading: Progress and attempts.
        location: What people pull.
        force: Whether files with other contents are replaced.

    Raises:
        UsageError: A file with other contents is there.
        FormatError: The index that is there is not ours.
        FetchError: Something cannot be written.
    """
    before = uploading.retried(lambda: shelf.read(INDEX_NAME), INDEX_NAME)
    if before is not None and len(before) > _MOST_INDEX:
        raise FormatError(f"the {INDEX_NAME} that is there has {len(before)} bytes, at most {_MOST_INDEX} are read")
    listed = {file["path"]: str(file["sha256"]) for entry in _entries(before) for file in entry["files"]}
    wanted: list[tuple[str, int, Digest, Callable[[], Iterator[bytes]]]] = []
    for bundle in publication.bundles:
        wanted += [(file.path, file.size, file.sha256, _whole(file.content, file.size)) for file in bundle.files]
        wanted += [(item.path, len(item.data), Digest.of(item.data), _bytes(item.data)) for item in bundle.statements]
    missing = []
    for path, size, sha256, content in wanted:
        there = uploading.retried(lambda path=path: shelf.find(path), path)  # type: ignore[misc]  # called at once
        if there is not None and _is_same(there, size, sha256, listed.get(path)):
            continue
        if there is not None and not force:
            raise UsageError(
                f"{path} is there already, with other contents", hints=("replace it: --force", "or raise the version")
            )
        missing.append((path, size, sha256, content))
    for path, size, sha256, content in missing:
        _write(path, size, sha256, content, shelf, uploading)
    index = merged_index(uploading.retried(lambda: shelf.read(INDEX_NAME), INDEX_NAME), publication)
    if index != before:
        uploading.retried(
            lambda: shelf.write(INDEX_NAME, lambda: iter([index]), len(index), Digest.of(index)), INDEX_NAME
        )
    return Published(location=location, sent=sum(size for _, size, _, _ in missing), present=len(wanted) - len(missing))


def _is_same(there: tuple[int, Digest | None], size: int, sha256: Digest, listed: str | None) -> bool:
    """Return whether a file is the one to write: by its digest, else by its size and what the index says of it."""
    if there[0] != size:
        return False
    return there[1] == sha256 if there[1] is not None else listed == sha256.hex


def _write(
    path: str,
    size: int,
    sha256: Digest,
    content: Callable[[], Iterator[bytes]],
    shelf: Shelf,
    uploading: Uploading,
) -> None:
    with uploading.sending(path, size) as so_far:

        def counted() -> Iterator[bytes]:
            done = 0
            for piece in content():
                yield piece
                done += len(piece)
                so_far(done)

        uploading.retried(lambda: shelf.write(path, counted, size, sha256), path)


def _whole(content: Callable[[int, int], Iterator[bytes]], size: int) -> Callable[[], Iterator[bytes]]:
    return lambda: content(0, size)


def _bytes(data: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([data])
