"""`lftool export container`: write a native bundle as an OCI image from scratch, with one layer and one file.

Sources: OCI image specification 1.1: image-layout, manifest, config; layers are tar (POSIX pax). The bytes depend only
on the bundle, not on time, host or user.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from lftool.api import Artifact, Digest, Export, IntegrityError, UnavailableError, UsageError, canonical_json

if TYPE_CHECKING:
    from pathlib import Path

    from attrs import Attribute

    from lftool.api import ExportRequest

PORT = 8080
_BLOCK = 512
_PT_INTERP = 3
_PIECE = 1 << 20
USER = 65_532  # an unprivileged user, as in distroless images
_MODE = 0o555
# ELF e_machine, at byte 18 of the header (System V ABI), to OCI architecture name (Go's GOARCH).
_ARCHITECTURES = {62: "amd64", 183: "arm64", 243: "riscv64"}
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCUMENTS = ("oci-layout", "index.json")


def entry_name(request: ExportRequest) -> str:
    """Return the name of the executable in an image."""
    return f"{request.bundle.name}.llamafile"


def require_native(request: ExportRequest) -> str:
    """Return the name of a bundle's native runtime.

    Raises:
        UsageError: The bundle does not begin with an executable.
    """
    runtime = request.bundle.runtime or "none"
    if os.pread(request.bundle.file.fileno(), 4, 0) != b"\x7fELF":
        raise UsageError(
            f"{request.bundle.path.name}: its runtime is {runtime}, and an image needs a native one",
            hints=('build a target with `runtime = "native"`',),
        )
    return runtime


def _architecture(request: ExportRequest) -> str:
    """Return the architecture of a bundle's executable.

    Raises:
        UsageError: The bundle does not begin with an executable that needs no libraries.
    """
    runtime, head = require_native(request), os.pread(request.bundle.file.fileno(), 20, 0)
    if _has_interpreter(request.bundle.file.fileno()):
        raise UsageError(
            f"{request.bundle.path.name}: its executable ({runtime}) is linked dynamically, and an image from scratch has no libraries",
            hints=(
                'use it on an image that has them, such as the vendor\'s own, or build a target with `backend = "cpu"`',
            ),
        )
    machine = int.from_bytes(head[18:20], "little")
    if machine not in _ARCHITECTURES:
        raise UnavailableError(
            f"{request.bundle.path.name}: its executable is for an architecture that has no OCI name"
        )
    return _ARCHITECTURES[machine]


def _has_interpreter(descriptor: int) -> bool:
    """Tell whether an executable needs a dynamic linker: a program header of type PT_INTERP (System V ABI, 64 bits)."""
    header = os.pread(descriptor, 64, 0)
    start, size, count = (int.from_bytes(header[at:end], "little") for at, end in ((32, 40), (54, 56), (56, 58)))
    types = (os.pread(descriptor, 4, start + number * size) for number in range(count))
    return any(int.from_bytes(kind, "little") == _PT_INTERP for kind in types)


def _copy(source: int, target: int, size: int, offset: int) -> None:
    """Copy the first bytes of a file to an offset in another, inside the kernel if possible, else through memory.

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
            inside = False  # two file systems, or one that cannot copy
            continue
        if count == 0:
            raise IntegrityError("the bundle has become shorter while it was copied")
        done += count


def _tar_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, _MODE, 0
    return info.tobuf(format=tarfile.PAX_FORMAT, encoding="utf-8", errors="strict")


def _write_layer(request: ExportRequest, folder: Path) -> Artifact:
    """Write the layer; the kernel copies the bundle while another thread hashes it."""
    descriptor, header = request.bundle.file.fileno(), _tar_header(entry_name(request), request.bundle.size)
    padding = b"\0" * (-request.bundle.size % _BLOCK + 2 * _BLOCK)

    def digest() -> Digest:
        state, at = hashlib.sha256(header), 0
        while at < request.bundle.size:
            piece = os.pread(descriptor, min(_PIECE, request.bundle.size - at), at)
            if not piece:
                break  # checked a moment ago; the digest reveals a change
            state.update(piece)
            at += len(piece)
        state.update(padding)
        return Digest(state.hexdigest())

    unnamed = folder / "layer"
    with unnamed.open("wb") as out, ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(digest)
        out.write(header)
        out.flush()
        _copy(descriptor, out.fileno(), request.bundle.size, len(header))
        out.seek(0, os.SEEK_END)
        out.write(padding)
        out.flush()
        os.fsync(out.fileno())  # the disk writes while the rest is hashed; the core syncs the image in any case
        found = hashed.result()
    unnamed.rename(folder / found.hex)
    return Artifact(found, len(header) + request.bundle.size + len(padding))


def _write_json(value: Any, folder: Path) -> Artifact:  # noqa: ANN401 - plain data
    data = canonical_json(value)
    artifact = Artifact.of(data)
    (folder / artifact.sha256.hex).write_bytes(data)
    return artifact


def _descriptor(kind: str, artifact: Artifact, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - plain data
    return {"mediaType": kind, "digest": f"sha256:{artifact.sha256.hex}", "size": artifact.size, **more}


def _image_config(entry: str, architecture: str, layer: Artifact, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": f"{USER}:{USER}",
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Entrypoint": [f"/{entry}"],
            "Cmd": ["--server", "--host", "0.0.0.0", "--port", str(PORT)],  # noqa: S104 - requires a key, see serve.cpp
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.sha256.hex}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": f"lftool export container {entry}"}],
    }


# Image references: the grammar in the distribution project's reference.go (a registry, a path, a tag, a digest).
_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?{_NAME}(?:/{_NAME})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)


def require_reference(image: str) -> str:
    """Return an image reference, if it is valid.

    Raises:
        ValueError: It is not valid.
    """
    if not _REFERENCE.fullmatch(image):
        raise ValueError(
            f"{image!r} is not an image reference, such as registry.example.com/name:1; names are lower case"
        )
    return image


def reference(_instance: object, _attribute: Attribute[Any], value: str | None) -> None:
    """Raise ValueError unless an option is an image reference or None."""
    if value is not None:
        require_reference(value)


@frozen(kw_only=True)
class ContainerOptions:
    """Options of `lftool export container`."""

    ref: str | None = field(
        default=None,
        validator=reference,
        metadata={
            "doc": "Image reference once it is loaded, such as registry.example.com/name:1.",
            "metavar": "REF",
        },
    )


@frozen
class ContainerExporter:
    """Writes an OCI image layout: one layer with one file. The same bundle gives the same bytes under any file name."""

    options: ContainerOptions

    def export(self, request: ExportRequest) -> Export:
        """Write the image.

        Raises:
            UsageError: The bundle has no native runtime, or one that needs libraries.
        """
        assert request.folder is not None  # noqa: S101 - the record says so
        architecture, ref, folder = _architecture(request), self.options.ref, request.folder
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        layer = _write_layer(request, blobs)
        labels = {
            "org.opencontainers.image.title": request.bundle.name,
            "org.opencontainers.image.version": request.bundle.version,
            "lftool.manifest": request.bundle.manifest.hex,
        }
        config = _write_json(_image_config(entry_name(request), architecture, layer, labels), blobs)
        image = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, layer)],
            "annotations": labels,
        }
        manifest = _write_json(image, blobs)
        named = {} if ref is None else {"io.containerd.image.name": ref}
        entry = _descriptor(
            _MANIFEST,
            manifest,
            platform={"architecture": architecture, "os": "linux"},
            annotations={**named, "org.opencontainers.image.ref.name": ref or request.bundle.version},
        )
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}
        for name, value in zip(_DOCUMENTS, ({"imageLayoutVersion": "1.0.0"}, index), strict=True):
            (folder / name).write_bytes(canonical_json(value))
        size = layer.size + config.size + manifest.size
        layout = shlex.quote(f"oci:{request.destination}{'' if ref is None else f':{ref}'}")
        return Export(
            text=f"sha256:{manifest.sha256.hex}  linux/{architecture}  {size / 1e6:.1f} MB",
            data={"digest": f"sha256:{manifest.sha256.hex}", "architecture": architecture, "size": size},
            notes=(f"push it: skopeo copy --preserve-digests {layout} docker://{ref or 'REGISTRY/NAME:TAG'}",),
        )
