"""The writer on its own, with a store of files: what it writes is what the reader accepts, up to the reader's limits."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from lftool.api import LayoutPlan, PlannedMember, PlannedPrefix
from lftool.bundle import reader, writer
from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import check_contents, check_flat_digests, unsigned_artifact
from lftool.bundle.structure import END_SIZE
from lftool.bundle.writer import BundleWriter, Identity, OneFile, chunk_table, make_manifest
from lftool.errors import FormatError
from lftool.models.digest import Artifact
from lftool.models.manifest import is_large
from lftool.models.run_contract import RunContract
from lftool.store.cas import CorruptBlobError
from lftool.store.hashing import Blob, Facts, hash_bytes

DOCUMENTS = {
    "lftool/recipe.toml": "recipe",
    "lftool/lock.toml": "lock",
    "lftool/provenance.json": "provenance",
    "lftool/sbom.cdx.json": "sbom",
}
IDENTITY = Identity(
    name="tiny", version="1", target="t", layout="llamafile", backend="cpu", run=RunContract(context=8, stop=("x",))
)


class Files:
    """A store: a folder of files named by their digests."""

    def __init__(self, folder) -> None:
        self._folder = folder
        self._hashed = {}

    def put(self, data: bytes) -> Artifact:
        made = hash_bytes(data)
        self._hashed[made.artifact] = made
        self.path(made.artifact).write_bytes(data)
        return made.artifact

    def path(self, artifact: Artifact):
        return self._folder / artifact.sha256.hex

    def facts(self, artifact: Artifact):
        return self._hashed[artifact].facts

    def change(self, artifact: Artifact) -> None:
        """Change the last byte of a blob, as if its CRC-32 stayed the same."""
        data = self.path(artifact).read_bytes()
        data = data[:-1] + bytes([data[-1] ^ 1])
        self.path(artifact).write_bytes(data)
        made = self._hashed[artifact]
        facts = Facts(crc32=hash_bytes(data).facts.crc32, chunks=made.facts.chunks)
        self._hashed[artifact] = Blob(artifact=artifact, facts=facts)


@pytest.fixture
def blobs(tmp_path) -> Files:
    (tmp_path / "blobs").mkdir()
    return Files(tmp_path / "blobs")


@pytest.fixture
def plan(blobs, release) -> LayoutPlan:
    """A runtime, weights and an adapter, named in no order."""
    gguf = (release.root / "model.gguf").read_bytes()
    members = (
        PlannedMember(path="license.txt", role="license", artifact=blobs.put(b"free")),
        PlannedMember(path="lora.gguf", role="adapter", artifact=blobs.put(gguf + bytes(32))),
        PlannedMember(path="model.gguf", role="weights", artifact=blobs.put(gguf)),
    )
    return LayoutPlan(prefix=PlannedPrefix(role="runtime", artifact=blobs.put(b"#!runtime\n")), members=members)


@pytest.fixture
def documents(blobs, plan) -> list[PlannedMember]:
    made = [PlannedMember(path=path, role=role, artifact=blobs.put(path.encode())) for path, role in DOCUMENTS.items()]
    chunks = blobs.put(chunk_table(plan, blobs))
    return [*made, PlannedMember(path="lftool/chunks", role="chunks", artifact=chunks)]


def written(path, manifest, blobs, signatures=()) -> tuple[Artifact, Artifact]:
    bundle = BundleWriter(manifest=manifest, blobs=blobs)
    with path.open("w+b") as file:
        out = SimpleNamespace(file=file)
        return bundle.write_body(OneFile(out)), bundle.finish(OneFile(out), signatures)


def test_what_is_written_is_read_back_and_every_content_is_where_it_belongs(tmp_path, plan, documents, blobs):
    manifest = make_manifest(IDENTITY, plan, documents, blobs)

    unsigned, whole = written(tmp_path / "bundle", manifest, blobs)

    with opened(tmp_path / "bundle") as bundle:
        check_contents(bundle)
        check_flat_digests(bundle)
        assert bundle.manifest == manifest
        assert unsigned == whole == unsigned_artifact(bundle) == Artifact.of((tmp_path / "bundle").read_bytes())
        assert (bundle.manifest.run, bundle.manifest.layout) == (RunContract(context=8, stop=("x",)), "llamafile")
        large = [item.entry.path for item in bundle.arrangement.members if item.entry.aligned]
        assert large == ["model.gguf", "lora.gguf"]


def test_u_does_not_depend_on_signatures_and_the_whole_file_does(tmp_path, plan, documents, blobs):
    manifest = make_manifest(IDENTITY, plan, documents, blobs)
    plain = written(tmp_path / "plain", manifest, blobs)

    unsigned, whole = written(tmp_path / "signed", manifest, blobs, [b"two", b"one"])

    assert unsigned == plain[0]
    assert whole == Artifact.of((tmp_path / "signed").read_bytes()) != unsigned
    with opened(tmp_path / "signed") as bundle:
        assert sorted(bundle.signatures) == [b"one", b"two"]
        assert unsigned_artifact(bundle) == unsigned


def test_a_chunk_table_is_that_of_prefix_weights_and_companions(plan, blobs):
    weights, adapter = plan.members[2].artifact, plan.members[1].artifact
    assert chunk_table(plan, blobs) == b"".join(
        bytes.fromhex(artifact.sha256.hex) for artifact in (plan.prefix.artifact, weights, adapter)
    )


def test_a_small_member_has_at_most_what_a_reader_takes(plan, documents, blobs, monkeypatch):
    longest = max(item.artifact.size for item in documents)
    monkeypatch.setattr(writer, "MAX_SMALL_MEMBER", longest)
    make_manifest(IDENTITY, plan, documents, blobs)
    monkeypatch.setattr(writer, "MAX_SMALL_MEMBER", longest - 1)
    with pytest.raises(FormatError) as caught:
        make_manifest(IDENTITY, plan, documents, blobs)
    assert caught.value.message == f"lftool/chunks has {longest} bytes; a bundle holds at most {longest - 1} of it"


def test_there_are_at_most_as_many_members_as_a_reader_takes(plan, documents, blobs, monkeypatch):
    """The manifest is one of them."""
    monkeypatch.setattr(writer, "MAX_MEMBERS", 9)
    make_manifest(IDENTITY, plan, documents, blobs)
    monkeypatch.setattr(writer, "MAX_MEMBERS", 8)
    with pytest.raises(FormatError, match=r"^8 members; a bundle has at most 8$"):
        make_manifest(IDENTITY, plan, documents, blobs)


def test_a_signature_has_at_most_what_a_reader_takes(tmp_path, plan, documents, blobs):
    manifest = make_manifest(IDENTITY, plan, documents, blobs)
    written(tmp_path / "bundle", manifest, blobs, [bytes(64 * 1024)])
    with opened(tmp_path / "bundle") as bundle:
        assert bundle.signatures == (bytes(64 * 1024),)
    with pytest.raises(FormatError, match=r"^a signature of 65537 bytes: a bundle holds at most 65536 for each$"):
        written(tmp_path / "bundle", manifest, blobs, [bytes(64 * 1024 + 1)])


READER_LIMITS = {
    "MAX_DIRECTORY": lambda bundle: bundle.size - bundle.arrangement.directory_offset - END_SIZE,
    "MAX_MEMBERS": lambda bundle: len(bundle.arrangement.members),
    "MAX_SIGNATURES": lambda bundle: len(bundle.signatures),
    "MAX_SMALL_MEMBER": lambda bundle: max(item.size for item in bundle.manifest.members if not is_large(item.role)),
}


@pytest.mark.parametrize(("limit", "amount"), READER_LIMITS.items(), ids=READER_LIMITS.keys())
def test_a_reader_takes_as_much_as_its_limit(tmp_path, plan, documents, blobs, monkeypatch, limit, amount):
    written(tmp_path / "bundle", make_manifest(IDENTITY, plan, documents, blobs), blobs, [b"one", b"two"])
    with opened(tmp_path / "bundle") as bundle:
        most = amount(bundle)
    monkeypatch.setattr(reader, limit, most)
    with opened(tmp_path / "bundle"):
        pass
    monkeypatch.setattr(reader, limit, most - 1)
    with pytest.raises(FormatError, match=f"{most - 1}"), opened(tmp_path / "bundle"):
        pass


@pytest.mark.parametrize(
    ("role", "why"), [("runtime", "it has changed"), ("license", "bytes 0 to 4 have changed")], ids=["first", "later"]
)
def test_a_blob_that_changed_is_found_where_the_bundle_begins_and_later(tmp_path, plan, documents, blobs, role, why):
    """What a bundle begins with is hashed once, as part of the bundle; what comes later, by chunk as well."""
    artifacts = {member.role: member.artifact for member in plan.members} | {plan.prefix.role: plan.prefix.artifact}
    manifest = make_manifest(IDENTITY, plan, documents, blobs)
    blobs.change(artifacts[role])
    with pytest.raises(CorruptBlobError) as caught:
        written(tmp_path / "bundle", manifest, blobs)
    assert caught.value.message == f"the cached blob {artifacts[role].sha256} was corrupted: {why}"


def test_there_are_at_most_as_many_signatures_as_a_reader_takes(tmp_path, plan, documents, blobs):
    manifest = make_manifest(IDENTITY, plan, documents, blobs)
    many = [b"%d" % number for number in range(65)]
    written(tmp_path / "bundle", manifest, blobs, many[:64])
    with pytest.raises(FormatError, match=r"^65 signatures: a bundle holds at most 64$"):
        written(tmp_path / "bundle", manifest, blobs, many)


def test_a_file_that_is_read_in_short_pieces_is_read_whole(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"0123456789")
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: real(descriptor, min(size, 3), offset))
    with (tmp_path / "file").open("rb") as file:
        assert reader.read_exactly(file.fileno(), 1, 8, "file") == b"12345678"


def test_a_build_can_stop_between_two_pieces(tmp_path, plan, documents, blobs):
    def stop() -> None:
        raise InterruptedError

    bundle = BundleWriter(manifest=make_manifest(IDENTITY, plan, documents, blobs), blobs=blobs, pulse=stop)
    with (tmp_path / "bundle").open("w+b") as file, pytest.raises(InterruptedError):
        bundle.write_body(OneFile(SimpleNamespace(file=file)))
