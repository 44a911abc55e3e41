"""What `lftool plugins test sampler` tries everything with. Imported by that command only; it needs `lftool[testing]`."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from lftool.api import ConverterType, Device, Probe, QuantizerType
from lftool.testing import (
    BackendExample,
    CheckExample,
    FakeCheckContext,
    FaultProxy,
    FileServer,
    KeyExample,
    ObserverExample,
    PublishingPlace,
    RemotePlace,
    Served,
    SignedExample,
    Work,
    fake_bundle,
    large_model,
    tiny_gguf,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def served(_folder: Path) -> Iterator[Served]:
    """A server that has one archive, behind a proxy that can break what it sends."""
    files = {"model.gguf": large_model(), "notes/read.txt": b"two files\n"}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(zipfile.ZipInfo(name), data)
    sent = archive.getvalue()
    with FileServer(files={"/model.zip": sent}) as server, FaultProxy(server.url) as proxy:
        yield Served(uri=f"zipped:{proxy.url}/model.zip", files=files, proxy=proxy, upstream=sent)


@contextlib.contextmanager
def place(folder: Path) -> Iterator[RemotePlace]:
    """An empty shelf."""

    def stored(key: str) -> bytes | None:
        found = [path for suffix in ("", ".zst") if (path := folder / (key + suffix)).exists()]
        return found[0].read_bytes() if found else None

    yield RemotePlace(url=f"shelf://localhost{folder}", stored=stored)


@contextlib.contextmanager
def publishing(folder: Path) -> Iterator[PublishingPlace]:
    """An empty shelf, to publish on."""

    def digests() -> set[str]:
        return {f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in folder.iterdir()}

    yield PublishingPlace(uri=f"shelf://localhost{folder}", digests=digests)


@contextlib.contextmanager
def conversion(folder: Path) -> Iterator[Work]:
    """Two tensors."""
    path, names = folder / "model.numbers.json", folder / "names.txt"
    path.write_text(json.dumps({"one": [1.5, 2.5], "two": [-3.0]}))
    names.write_text("Two tensors\n")
    inputs = {"model.numbers.json": path, "names.txt": names}
    yield Work(kind=ConverterType, name="numbers", produces="source", inputs=inputs, options={"scale": 2})


@contextlib.contextmanager
def quantization(folder: Path) -> Iterator[Work]:
    """A small model."""
    inputs = {"weights": tiny_gguf(folder / "model.gguf", width=32)}
    yield Work(kind=QuantizerType, name="halving", produces="HALVED", inputs=inputs, options={"times": 2})


@contextlib.contextmanager
def device(_folder: Path) -> Iterator[BackendExample]:
    """A machine with an abacus."""
    beads = Device(name="Abacus 10", memory=1 << 34, free=1 << 34)
    yield BackendExample(probe=Probe(available=True, devices=(beads,), fingerprint="abacus"))


def _key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@contextlib.contextmanager
def key(_folder: Path) -> Iterator[KeyExample]:
    """A key beside the recipe."""
    pem = _key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    yield KeyExample(reference="ed25519:release.key", files={"release.key": pem})


@contextlib.contextmanager
def signed(_folder: Path) -> Iterator[SignedExample]:
    """A signature."""
    public = _key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    yield SignedExample(name="ed25519", public_key=public, data=b"lftool", signature=_key().sign(b"lftool"))


@contextlib.contextmanager
def journal(folder: Path) -> Iterator[ObserverExample]:
    """A journal that is kept."""
    yield ObserverExample(name="journal", options={"path": str(folder / "journal.jsonl")})


@contextlib.contextmanager
def bundles(_folder: Path) -> Iterator[CheckExample]:
    """A small bundle, and a large one."""
    yield CheckExample(
        name="budget",
        options={"most_bytes": 1000},
        holds=FakeCheckContext(bundle=fake_bundle(size=1000)),
        fails=FakeCheckContext(bundle=fake_bundle(size=1001)),
    )
