"""What a push puts into a registry, as bytes: manifests for ModelPack and Docker Model Runner, referrers, the index.

Pure functions: the same bundles give the same bytes anywhere. So there are no times in them, and keys stand in the
order in which Go's clients write them: some of those write a document again, and compare its digest.

Sources: CNCF ModelPack spec v0.0.7 (spec.md, config.md, annotations.md); Docker's model-runner, pkg/distribution, of
2026-07; OCI image-spec v1.1 (manifest.md, image-index.md) and distribution-spec v1.1 ("Pushing Manifests with Subject").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from lftool_oci.indexes import TARGET
from lftool_oci.registry import INDEX, MANIFEST

if TYPE_CHECKING:
    from lftool.api import Publication, PublishedBundle, PublishedFile, PublishedStatement

_KIND = "application/vnd.cncf.model"
MODELPACK = f"{_KIND}.manifest.v1+json"
MODELPACK_CONFIG = f"{_KIND}.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.ai.model.config.v0.1+json"
DOCKER_GGUF = "application/vnd.docker.ai.gguf.v3"
EMPTY = "application/vnd.oci.empty.v1+json"
# A client of ModelPack refuses a manifest with a layer of any other type.
_LAYERS = {
    "weights": f"{_KIND}.weight.v1.raw",
    "runtime": f"{_KIND}.code.v1.raw",
    "sidecar": f"{_KIND}.doc.v1.raw",
}
_NO_TIME = "1970-01-01T00:00:00Z"
_FILE = 0  # type flag of a regular file, as modctl and modelpack-client write it


@frozen(kw_only=True)
class Blob:
    """A blob to push. `content` takes where to begin and how many bytes."""

    name: str
    digest: str
    size: int
    content: Callable[[int, int], Iterator[bytes]] = field(repr=False, eq=False)


@frozen(kw_only=True)
class Document:
    """A manifest or an index.

    Attributes:
        name: What it is, for people.
        media_type: Its media type.
        data: Its bytes.
        subject: Digest of the manifest that it refers to; None if it refers to none.
        tag: A tag that it gets; None for none.
    """

    name: str
    media_type: str
    data: bytes = field(repr=False)
    subject: str | None = None
    tag: str | None = None

    @property
    def digest(self) -> str:
        """Its digest."""
        return digest_of(self.data)

    @property
    def value(self) -> dict[str, Any]:
        """Its content."""
        found: dict[str, Any] = json.loads(self.data)
        return found


@frozen(kw_only=True)
class Artifacts:
    """Everything that a push uploads, in this order: blobs, manifests, referrers, and what the tag will name.

    Attributes:
        blobs: Contents.
        manifests: One for each bundle, or two with Docker's.
        referrers: One for each statement.
        top: What the tag names: the only manifest, or an index of all.
    """

    blobs: tuple[Blob, ...]
    manifests: tuple[Document, ...]
    referrers: tuple[Document, ...]
    top: Document

    @property
    def alone(self) -> tuple[Document, ...]:
        """The manifest that the tag will name, if it is not an index: it has to be there before its referrers."""
        return (self.top,) if self.top.media_type == MANIFEST else ()


def digest_of(data: bytes) -> str:
    """Return the digest of bytes, as registries write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def written(value: dict[str, Any]) -> bytes:
    """Return JSON as Go's encoder writes it: compact, and with the characters of HTML escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def _ordered(annotations: dict[str, str]) -> dict[str, str]:
    return {key: annotations[key] for key in sorted(annotations) if annotations[key]}


def _descriptor(media_type: str, digest: str, size: int, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    value: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": size}
    if annotations:
        value["annotations"] = _ordered(annotations)
    return value


def memory_blob(name: str, data: bytes) -> Blob:
    """Return a small blob."""
    return Blob(
        name=name,
        digest=digest_of(data),
        size=len(data),
        content=lambda start, size: iter([data[start : start + size]]),
    )


def file_blob(file: PublishedFile) -> Blob:
    """Return a file as a blob."""
    return Blob(name=file.path, digest=f"sha256:{file.sha256}", size=file.size, content=file.content)


def _layer(file: PublishedFile) -> dict[str, Any]:
    said = {
        "name": file.path,
        "mode": 0o755 if file.executable else 0o644,
        "uid": 0,
        "gid": 0,
        "size": file.size,
        "mtime": _NO_TIME,
        "typeflag": _FILE,
    }
    annotations = {
        "org.cncf.model.file.mediatype.untested": "false",
        "org.cncf.model.file.metadata+json": json.dumps(said, separators=(",", ":")),
        "org.cncf.model.filepath": file.path,
        "org.opencontainers.image.title": file.path,
    }
    return _descriptor(_LAYERS[file.role], f"sha256:{file.sha256}", file.size, annotations)


def parameter_text(count: int) -> str:
    """Return a number of parameters as ModelPack writes it: a number with at most one decimal, and K, M, B or T."""
    for unit, factor in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f}".removesuffix(".0") + unit
    return f"{count / 1000:.1f}K"


def _architecture(bundle: PublishedBundle) -> str:
    found = bundle.weights.metadata.get("general.architecture")
    return found if isinstance(found, str) else ""


def _config(bundle: PublishedBundle) -> bytes:
    """Return the ModelPack config of a bundle (config.md): no time, and layers that are their own diff ids."""
    descriptor: dict[str, Any] = {"name": bundle.name, "version": bundle.version}
    if bundle.description:
        descriptor["description"] = bundle.description
    if bundle.license:
        descriptor["licenses"] = [bundle.license]
    config = {
        "architecture": _architecture(bundle),
        "format": "gguf",
        "paramSize": parameter_text(bundle.parameters),
        "quantization": bundle.file_type,
    }
    return written(
        {
            "descriptor": descriptor,
            "config": {key: value for key, value in config.items() if value},
            "modelfs": {"type": "layers", "diffIds": [f"sha256:{file.sha256}" for file in bundle.files]},
        }
    )


def _annotations(bundle: PublishedBundle) -> dict[str, str]:
    """Return what a person chooses a bundle by; the same stand in the manifest and in the index."""
    figures = {f"lftool.{name.replace(' ', '-')}": text for name, text in bundle.figures.items()}
    return {
        TARGET: bundle.target,
        "lftool.bundle.sha256": bundle.manifest.hex,
        "lftool.bundle.size": str(bundle.size),
        "lftool.context": str(bundle.context) if bundle.context else "",
        "lftool.layout": bundle.layout,
        "lftool.quantization": bundle.file_type,
        **figures,
    }


def modelpack_manifest(bundle: PublishedBundle, config: bytes, tag: str | None) -> Document:
    """Return the ModelPack manifest of a bundle."""
    about = {
        "org.opencontainers.image.description": bundle.description or "",
        "org.opencontainers.image.licenses": bundle.license or "",
        "org.opencontainers.image.title": bundle.name,
        "org.opencontainers.image.version": bundle.version,
    }
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": MODELPACK,
        "config": _descriptor(MODELPACK_CONFIG, digest_of(config), len(config)),
        "layers": [_layer(file) for file in bundle.files],
        "annotations": _ordered({**about, **_annotations(bundle)}),
    }
    return Document(name=f"manifest of {bundle.title}", media_type=MANIFEST, data=written(value), tag=tag)


def _docker_config(bundle: PublishedBundle) -> bytes:
    weights = _weights(bundle)
    config = {
        "format": "gguf",
        "quantization": bundle.file_type,
        "parameters": parameter_text(bundle.parameters),
        "architecture": _architecture(bundle),
        "size": f"{weights.size / 2**20:.2f}MiB",
    }
    value: dict[str, Any] = {"config": {key: text for key, text in config.items() if text}}
    if bundle.context:
        value["config"]["context_size"] = bundle.context
    value["descriptor"] = {"created": _NO_TIME}
    value["rootfs"] = {"type": "rootfs", "diff_ids": [f"sha256:{weights.sha256}"]}
    return written(value)


def _weights(bundle: PublishedBundle) -> PublishedFile:
    return next(file for file in bundle.files if file.role == "weights")


def docker_manifest(bundle: PublishedBundle, config: bytes, tag: str | None) -> Document:
    """Return the manifest that Docker Model Runner reads; its layer is the same blob."""
    weights = _weights(bundle)
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(DOCKER_CONFIG, digest_of(config), len(config)),
        "layers": [_descriptor(DOCKER_GGUF, f"sha256:{weights.sha256}", weights.size)],
    }
    return Document(name=f"Docker manifest of {bundle.title}", media_type=MANIFEST, data=written(value), tag=tag)


def referrer(statement: PublishedStatement, about: Document) -> Document:
    """Return the manifest that ties a statement to a bundle, as cosign and ORAS write it."""
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": statement.media_type,
        "config": _descriptor(EMPTY, digest_of(b"{}"), 2),
        "layers": [
            _descriptor(
                statement.media_type,
                digest_of(statement.data),
                len(statement.data),
                {"org.opencontainers.image.title": statement.path},
            )
        ],
        "subject": _descriptor(MANIFEST, about.digest, len(about.data)),
        "annotations": _ordered(
            {
                "dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": statement.predicate_type,
            }
        ),
    }
    return Document(name=f"referrer {statement.path}", media_type=MANIFEST, data=written(value), subject=about.digest)


def index_of(entries: list[tuple[PublishedBundle, Document]], tag: str) -> Document:
    """Return the index of several bundles. Titles are left out: `oras pull` would write a file for each."""
    manifests = []
    for bundle, document in entries:
        # No artifactType here: skopeo 1.9 takes an index with it for one that it has to convert.
        manifests.append(_descriptor(MANIFEST, document.digest, len(document.data), _annotations(bundle)))
    first = entries[0][0]
    value = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "artifactType": MODELPACK,
        "manifests": manifests,
        "annotations": _ordered(
            {"org.opencontainers.image.version": first.version, "org.opencontainers.image.title": first.name}
        ),
    }
    return Document(name="index", media_type=INDEX, data=written(value), tag=tag)


def artifacts(publication: Publication, tag: str, *, docker: bool) -> Artifacts:
    """Return everything that a push uploads.

    Args:
        publication: The bundles.
        tag: The tag. With several bundles, each has the tag with `-` and its target too.
        docker: Whether to add manifests for Docker Model Runner, tagged with `-docker` at the end.
    """
    alone = len(publication.bundles) == 1
    blobs: dict[str, Blob] = {}
    manifests, referrers, entries = [], [], []

    def add(blob: Blob) -> None:
        blobs.setdefault(blob.digest, blob)

    for bundle in publication.bundles:
        for file in bundle.files:
            add(file_blob(file))
        config = _config(bundle)
        add(memory_blob(f"config of {bundle.title}", config))
        own = tag if alone else f"{tag}-{bundle.target}"
        document = modelpack_manifest(bundle, config, None if alone else own)
        entries.append((bundle, document))
        manifests.append(document)
        if docker:
            config = _docker_config(bundle)
            add(memory_blob(f"Docker config of {bundle.title}", config))
            manifests.append(docker_manifest(bundle, config, f"{own}-docker"))
        for statement in bundle.statements:
            add(memory_blob("empty config", b"{}"))
            add(memory_blob(statement.path, statement.data))
            referrers.append(referrer(statement, document))
    if alone:
        top = Document(name=manifests[0].name, media_type=manifests[0].media_type, data=manifests[0].data, tag=tag)
        manifests = manifests[1:]
    else:
        top = index_of(entries, tag)
    return Artifacts(blobs=tuple(blobs.values()), manifests=tuple(manifests), referrers=tuple(referrers), top=top)


def with_referrer(index: dict[str, Any] | None, document: Document) -> bytes | None:
    """Return an index of referrers with one more, as the tag schema has it; None if it is listed already.

    Args:
        index: The index that the tag names now; None if there is none.
        document: The referrer.
    """
    value = index or {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    listed = value["manifests"]
    if any(item.get("digest") == document.digest for item in listed):
        return None
    said = document.value
    entry = _descriptor(document.media_type, document.digest, len(document.data), said.get("annotations"))
    entry["artifactType"] = said["artifactType"]
    return written({**value, "manifests": [*listed, entry]})
