"""`lftool export container`: a native bundle as an OCI image from scratch, one layer with one file in it.

Sources: OCI image specification 1.1: image-layout, manifest, config; layers are tar (POSIX pax). The bytes are a function of
the bundle: no time, no host, no user.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.bundle.reader import opened
from lftool.codec.canonical import canonical_json
from lftool.errors import IntegrityError, UnavailableError, UsageError
from lftool.models.digest import Artifact, Digest
from lftool.ops.bundles.claims import runtime_name
from lftool.ops.run.integrity import check_opened
from lftool.store.durable import durable_file, storage_errors

if TYPE_CHECKING:
    from lftool.bundle.reader import Bundle
    from lftool.models.manifest import BundleManifest
    from lftool.store.store import Store

PORT = 8080
_BLOCK = 512
_PT_INTERP = 3
_PIECE = 1 << 20
USER = 65_532  # of nobody in particular: the number that distroless images use
_MODE = 0o555
# ELF header: e_machine at byte 18 (System V ABI), to what OCI calls the architecture (Go's GOARCH).
_ARCHITECTURES = {62: "amd64", 183: "arm64", 243: "riscv64"}
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCUMENTS = ("oci-layout", "index.json")


@frozen(kw_only=True)
class ExportedImage:
    """An image layout that was written; `digest` names its manifest."""

    folder: Path
    digest: Digest
    architecture: str
    size: int


def entry_name(manifest: BundleManifest) -> str:
    """Return what the executable is called in an image."""
    return f"{manifest.name}.llamafile"


def require_native(bundle: Bundle) -> str:
    """Return the name of a bundle's native runtime.

    Raises:
        UsageError: The bundle does not begin with an executable.
    """
    runtime = runtime_name(bundle) or "none"
    if os.pread(bundle.descriptor, 4, 0) != b"\x7fELF":
        raise UsageError(
            f"{bundle.name}: its runtime is {runtime}, and an image needs a native one",
            hints=('build a target with `runtime = "native"`',),
        )
    return runtime


def _architecture(bundle: Bundle) -> str:
    """Return the architecture of a bundle's executable.

    Raises:
        UsageError: The bundle does not begin with one that needs no libraries.
    """
    runtime, head = require_native(bundle), os.pread(bundle.descriptor, 20, 0)
    if _has_interpreter(bundle):
        raise UsageError(
            f"{bundle.name}: its executable ({runtime}) is linked dynamically, and an image from scratch has no libraries",
            hints=(
                'use it on an image that has them, such as the vendor\'s own, or build a target with `backend = "cpu"`',
            ),
        )
    machine = int.from_bytes(head[18:20], "little")
    if machine not in _ARCHITECTURES:
        raise UnavailableError(f"{bundle.name}: its executable is for a machine that OCI images have no name for")
    return _ARCHITECTURES[machine]


def _has_interpreter(bundle: Bundle) -> bool:
    """Tell whether an executable asks for a dynamic linker: a program header of type PT_INTERP (System V ABI, 64 bits)."""
    header = os.pread(bundle.descriptor, 64, 0)
    start, size, count = (int.from_bytes(header[at:end], "little") for at, end in ((32, 40), (54, 56), (56, 58)))
    types = (os.pread(bundle.descriptor, 4, start + number * size) for number in range(count))
    return any(int.from_bytes(kind, "little") == _PT_INTERP for kind in types)


def _copy(source: int, target: int, size: int, offset: int) -> None:
    """Copy the first bytes of a file to a place in another: inside the kernel where it can, else through memory.

    Raises:
        IntegrityError: The source ends early.
    """
    done, inside = 0, hasattr(os, "copy_file_range")
    while done < size:
        try:
            if inside:
                count = os.copy_file_range(source, target, size - done, done, offset + done)
            else:
                count = os.pwrite(target, os.pread(source, min(_PIECE, size - done), done), offset + done)
        except OSError:
            if not inside:
                raise
            inside = False  # two file systems, or one that cannot
            continue
        if count == 0:
            raise IntegrityError("the bundle has become shorter while it was copied")
        done += count


def _tar_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, _MODE, 0
    return info.tobuf(format=tarfile.PAX_FORMAT, encoding="utf-8", errors="strict")


def _write_layer(bundle: Bundle, name: str, folder: Path) -> Artifact:
    """Write the layer: the kernel copies the bundle while another thread hashes it."""
    header = _tar_header(name, bundle.size)
    padding = b"\0" * (-bundle.size % _BLOCK + 2 * _BLOCK)

    def digest() -> Digest:
        state, at = hashlib.sha256(header), 0
        while at < bundle.size:
            piece = os.pread(bundle.descriptor, min(_PIECE, bundle.size - at), at)
            if not piece:
                break  # it was checked a moment ago; if it has changed, the digest tells
            state.update(piece)
            at += len(piece)
        state.update(padding)
        return Digest(state.hexdigest())

    with durable_file(folder, "extract") as out, ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(digest)
        out.file.write(header)
        out.file.flush()
        _copy(bundle.descriptor, out.file.fileno(), bundle.size, len(header))
        out.file.seek(0, os.SEEK_END)
        out.file.write(padding)
        found = hashed.result()
        out.commit(folder / found.hex)
    return Artifact(found, len(header) + bundle.size + len(padding))


def _write_json(value: Any, folder: Path) -> Artifact:  # noqa: ANN401 - plain data
    data = canonical_json(value)
    artifact = Artifact(Digest.of(data), len(data))
    with durable_file(folder, "extract") as out:
        out.file.write(data)
        out.commit(folder / artifact.sha256.hex)
    return artifact


def _descriptor(kind: str, artifact: Artifact, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - plain data
    return {"mediaType": kind, "digest": f"sha256:{artifact.sha256.hex}", "size": artifact.size, **more}


def _config(entry: str, architecture: str, layer: Artifact, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": f"{USER}:{USER}",
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Entrypoint": [f"/{entry}"],
            "Cmd": ["--server", "--host", "0.0.0.0", "--port", str(PORT)],  # noqa: S104 - asks for a key, see serve.cpp
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.sha256.hex}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": f"lftool export container {entry}"}],
    }


# References of images: the grammar of the distribution project, reference.go (a registry, a path, a tag, a digest).
_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?{_NAME}(?:/{_NAME})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)


def require_reference(image: str) -> str:
    """Return a reference of an image.

    Raises:
        UsageError: It is none.
    """
    if not _REFERENCE.fullmatch(image):
        raise UsageError(
            f"{image!r} is no reference of an image",
            hints=("such as registry.example.com/name:1; names are lower case",),
        )
    return image


def export_container(path: Path, folder: Path, store: Store, reference: str | None = None) -> ExportedImage:
    """Write an OCI image layout of a bundle; every byte of the bundle is checked first.

    Args:
        path: The bundle.
        folder: Where to write; it is empty, or not there.
        store: Remembers what has been checked.
        reference: What engines call the image once it is loaded; None for its version alone.

    Raises:
        IntegrityError: The bundle is not what it says.
        UsageError: It has no native runtime, the folder is not empty, or the reference is none.
        StorageError: The layout cannot be written.
    """
    named = {} if reference is None else {"io.containerd.image.name": require_reference(reference)}
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty", hints=(f"remove it, or name another folder: rm -r {shlex.quote(str(folder))}",)
        )
    try:
        return _export(path, folder, store, named)
    except BaseException:
        for name in ("blobs", *_DOCUMENTS):  # half an image is in the way of the next try
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).unlink(missing_ok=True)
        raise


def _export(path: Path, folder: Path, store: Store, named: dict[str, str]) -> ExportedImage:
    with opened(path) as bundle:
        architecture = _architecture(bundle)
        check_opened(bundle, store)
        info, entry = bundle.manifest, entry_name(bundle.manifest)
        blobs = folder / "blobs" / "sha256"
        with storage_errors("write", folder):
            blobs.mkdir(parents=True, exist_ok=True)
        layer = _write_layer(bundle, entry, blobs)
        labels = {
            "org.opencontainers.image.title": info.name,
            "org.opencontainers.image.version": info.version,
            "lftool.manifest": bundle.manifest_digest.hex,
        }
        config = _write_json(_config(entry, architecture, layer, labels), blobs)
        image = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, layer)],
            "annotations": labels,
        }
        manifest = _write_json(image, blobs)
        entry_of_index = _descriptor(
            _MANIFEST,
            manifest,
            platform={"architecture": architecture, "os": "linux"},
            annotations={
                **named,
                "org.opencontainers.image.ref.name": named.get("io.containerd.image.name", info.version),
            },
        )
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry_of_index]}
        for name, value in zip(_DOCUMENTS, ({"imageLayoutVersion": "1.0.0"}, index), strict=True):
            with durable_file(folder, "extract") as out:
                out.file.write(canonical_json(value))
                out.commit(folder / name)
    size = layer.size + config.size + manifest.size
    return ExportedImage(folder=folder, digest=manifest.sha256, architecture=architecture, size=size)
