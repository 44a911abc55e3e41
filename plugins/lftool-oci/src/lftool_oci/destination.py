"""`lftool push oci://…`: bundles as ModelPack artifacts, and an index over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import FetchError, PlannedItem, PublicationPlan, Published, UsageError
from lftool_oci.artifacts import artifacts
from lftool_oci.reference import parse_reference
from lftool_oci.registry import Registry
from lftool_oci.uploads import Uploader, chunk_size, require_limits

if TYPE_CHECKING:
    from lftool.api import DestinationContext, Publication, Uploading
    from lftool_oci.artifacts import Artifacts, Document

_LONGEST_TAG = 128


class RegistryDestination:
    """Publishes into one repository of a registry."""

    def __init__(self, context: DestinationContext) -> None:
        self._context, self._options = context, context.options
        self._reference = parse_reference(context.uri, "push to", tagged=True)
        if self._reference.wanted.startswith("sha256:"):
            raise UsageError(
                f"{context.uri}: a push names a tag, not a digest", hints=("write oci://REGISTRY/REPOSITORY:TAG",)
            )
        mount = self._options.mount
        if mount is not None:
            parse_reference(f"oci://{self._reference.registry}/{mount}:v", "--mount", tagged=True)
        if self._options.chunk is not None and self._options.chunk < 0:
            raise UsageError(f"--chunk {self._options.chunk}: expected MiB, or 0")

    @property
    def _what(self) -> str:
        return f"push to {self._context.uri!r}"

    def _artifacts(self, publication: Publication) -> Artifacts:
        found = artifacts(publication, self._reference.wanted, docker=self._options.docker)
        for document in (*found.manifests, found.top):
            if document.tag is not None and len(document.tag) > _LONGEST_TAG:
                raise UsageError(
                    f"the tag {document.tag} has {len(document.tag)} characters, at most {_LONGEST_TAG} are allowed"
                )
        require_limits(self._reference.registry, found.blobs)
        return found

    def _location(self, top: Document) -> str:
        return f"oci://{self._reference.registry}/{self._reference.repository}@{top.digest}"

    def plan(self, publication: Publication) -> PublicationPlan:
        """Return blobs, manifests, and what the tag will name.

        Raises:
            UsageError: A tag is too long.
            UnavailableError: A layer is larger than the registry takes.
        """
        found = self._artifacts(publication)
        items = [PlannedItem(name=blob.name, digest=blob.digest, size=blob.size) for blob in found.blobs]
        documents = [*found.manifests, *found.referrers, found.top]
        items += [
            PlannedItem(
                name=document.name if document.tag is None else f"{document.name}, tag {document.tag}",
                digest=document.digest,
                size=len(document.data),
            )
            for document in documents
        ]
        return PublicationPlan(location=self._location(found.top), items=tuple(items))

    def publish(self, publication: Publication, uploading: Uploading) -> Published:
        """Upload missing blobs, then manifests, then referrers; tags come last, and the tag that was asked for at the end.

        Raises:
            UsageError: A tag is too long.
            UnavailableError: A layer is larger than the registry takes.
            FetchError: The registry does not accept something, or the tag was moved meanwhile.
        """
        found, options, tag = self._artifacts(publication), self._options, self._reference.wanted
        others = () if options.mount is None else (options.mount,)
        registry = Registry(self._reference, self._what, self._context.credentials, scope="pull,push", others=others)
        uploader = Uploader(registry, uploading, chunk_size(self._reference.registry, options.chunk), options.mount)
        before = uploader.tagged(tag)
        sent = [uploader.blob(blob) for blob in found.blobs]
        for document in (*found.manifests, *found.alone):
            uploader.document(document)
        for document in found.referrers:
            uploader.refer(document)
        for document in found.manifests:
            if document.tag is not None:
                uploader.document(document, document.tag)
        now = uploader.tagged(tag)
        if now not in {before, found.top.digest} and not self._context.force:
            raise FetchError(
                f"{self._what}: somebody else moved the tag {tag} meanwhile: it was {before or 'not there'}, now it is {now}",
                hints=("everything else is there; to move the tag: push again",),
            )
        uploader.document(found.top, tag)
        notes = []
        if before is not None and before != found.top.digest:
            notes.append(f"the tag {tag} named {before} before")
        return Published(
            location=self._location(found.top),
            sent=sum(sent),
            present=sum(1 for size in sent if not size),
            notes=tuple(notes),
        )
