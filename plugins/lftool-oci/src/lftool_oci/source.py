"""Read models from a registry (OCI distribution spec v1.1, "Pull")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftool.api import FetchError, FormatError, Resolution, is_chosen
from lftool_oci.indexes import choose
from lftool_oci.layers import files_of
from lftool_oci.reference import parse_reference
from lftool_oci.registry import INDEXES, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from lftool.api import SourceContext, SourceFile, SourceRequest
    from lftool_oci.reference import Reference

_MOST_INDEXES = 3  # an index may name another


class RegistrySource:
    """Reads model artifacts; their digests are the registry's own."""

    def __init__(self, context: SourceContext) -> None:
        self._own = context.credentials
        self._options = context.options
        self._opened: dict[str, Registry] = {}

    def _registry(self, reference: Reference, uri: str) -> Registry:
        if uri not in self._opened:
            self._opened[uri] = Registry(reference, f"source {uri!r}", self._own)
        return self._opened[uri]

    def _manifest(self, reference: Reference, uri: str) -> tuple[str, dict[str, Any]]:
        """Return digest and content of the manifest that is meant, looking into an index."""
        wanted = reference.wanted
        for _ in range(_MOST_INDEXES):
            digest, kind, found = self._registry(reference, uri).document(wanted)
            if kind not in INDEXES and "manifests" not in found:
                return digest, found
            wanted = choose(found, self._options, uri)
        raise FormatError(f"source {uri!r}: indexes are nested too deeply; name a manifest by its digest")

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return the manifest that the tag names now, and the files of its layers.

        Raises:
            RecipeError: The URI is wrong, or names an index in which several manifests could be meant.
            FormatError: The manifest is not what its digest says, or no model.
            FetchError: Nothing is there, or there is no right to it.
            TransientError: The registry does not answer, for now.
        """
        reference = parse_reference(request.uri)
        digest, manifest = self._manifest(reference, request.uri)
        found = files_of(manifest, f"source {request.uri!r}")
        files = tuple(file for file in found if is_chosen(file.path, request.include, request.exclude))
        if not files:
            names = ", ".join(file.path for file in found)
            raise FetchError(f"source {request.uri!r}: include and exclude match none of {names}")
        return Resolution(revision=digest, files=files)

    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Return the bytes of a layer, by its digest."""
        del revision
        reference = parse_reference(request.uri)
        url = f"{reference.base}/blobs/sha256:{file.sha256}"
        return self._registry(reference, request.uri).client.read(url, offset=offset, size=size, whole=file.size)
