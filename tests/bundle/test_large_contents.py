"""Contents of several chunks and pieces: each is read at its place, and a change in any of them is noticed and named."""

from __future__ import annotations

import array
import hashlib
import os

import pytest

from lftool.bundle import contents
from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import check_contents, check_flat_digests, unsigned_artifact
from lftool.bundle.extents import Extents
from lftool.bundle.extraction import copy_weights, extract
from lftool.errors import FormatError, IntegrityError, StorageError
from lftool.formats.gguf_write import TensorData, write_gguf
from lftool.models.digest import Artifact
from lftool.testing import ProjectFolder

MIB = 1024 * 1024
CHUNK = 4 * MIB
RECIPE = """\
[bundle]
name = "large"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
[targets.start]
layout = "llamafile"
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> ProjectFolder:
    """A built project, unsigned, whose weights have nine MiB and no two alike."""
    base = tmp_path_factory.mktemp("large")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    made.home.mkdir()
    count = 9 * MIB // 4
    values = array.array("f", range(count)).tobytes()
    with (made.root / "model.gguf").open("wb") as file:
        tensor = TensorData(name="token_embd.weight", dimensions=(1024, count // 1024), type="F32", data=values)
        write_gguf(file, {"general.architecture": "llama", "llama.block_count": 0}, [tensor])
    made.write_recipe(RECIPE)
    made.run("lock").assert_success()
    made.run("build").assert_success()
    return made


@pytest.fixture(params=["large-1-plain.gguf", "large-1-start.llamafile"])
def path(request, large):
    """A bundle of each layout."""
    return large.root / "dist" / request.param


@pytest.fixture
def weights(large) -> bytes:
    return (large.root / "model.gguf").read_bytes()


def test_the_sound_bundle_is_accepted(path):
    with opened(path) as bundle:
        check_contents(bundle)
        check_flat_digests(bundle)


@pytest.mark.parametrize("at", [0, MIB - 1, MIB, CHUNK - 1, CHUNK, 2 * CHUNK, -1])
def test_a_changed_byte_is_named_by_its_chunk(path, weights, tmp_path, at):
    at %= len(weights)
    begin = at - at % CHUNK
    end = min(begin + CHUNK, len(weights))
    changed = weights[:at] + bytes([weights[at] ^ 1]) + weights[at + 1 :]
    data = path.read_bytes()
    (tmp_path / "bad").write_bytes(data.replace(weights, changed))

    with opened(tmp_path / "bad") as bundle, pytest.raises(IntegrityError) as caught:
        check_contents(bundle)

    content = "the prefix" if path.suffix == ".gguf" else "model.gguf"
    expected, got = (hashlib.sha256(whole[begin:end]).hexdigest() for whole in (weights, changed))
    assert caught.value.message == (
        f"bad: {content}: bytes {begin} to {end} have been changed: expected sha256 {expected}, got {got}"
    )


def test_the_name_of_u_is_the_digest_of_an_unsigned_bundle(path):
    with opened(path) as bundle:
        assert unsigned_artifact(bundle) == Artifact.of(path.read_bytes())


def test_the_weights_are_copied(path, weights, tmp_path):
    with opened(path) as bundle:
        copy_weights(bundle, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == weights


def test_pieces_are_put_together_in_order(path, weights, tmp_path, monkeypatch):
    """With pieces of a MiB: those of 16 MiB would need a model of that size."""
    monkeypatch.setattr("lftool.bundle.extraction._PIECE", MIB)
    with opened(path) as bundle:
        copy_weights(bundle, tmp_path / "weights")
        extract(bundle, tmp_path / "out")
    assert (tmp_path / "weights").read_bytes() == weights
    assert (tmp_path / "out" / "model.gguf").read_bytes() == weights


@pytest.mark.parametrize("offset", [0, 5])
@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 3 * MIB + 5])
def test_a_hasher_hashes_what_it_is_asked_for(tmp_path, weights, offset, size):
    (tmp_path / "file").write_bytes(weights)
    with (tmp_path / "file").open("rb") as file:
        digest = contents._ChunkHasher(Extents.of_file(file.fileno(), len(weights) + 200)).digest(offset, size)
    assert digest == hashlib.sha256(weights[offset : offset + size]).digest()


@pytest.mark.parametrize("left", [0, 1])
def test_a_hasher_stops_where_the_file_ends(tmp_path, weights, left):
    (tmp_path / "file").write_bytes(weights)
    with (tmp_path / "file").open("rb") as file:
        digest = contents._ChunkHasher(Extents.of_file(file.fileno(), len(weights) + 200)).digest(
            len(weights) - left, 100
        )
    assert digest == hashlib.sha256(weights[len(weights) - left :]).digest()


# --- a file that changes while it is read


@pytest.mark.parametrize(
    "read",
    [
        lambda bundle, _: check_flat_digests(bundle),
        lambda bundle, _: unsigned_artifact(bundle),
        lambda bundle, _: bundle.read_member("lftool/chunks"),
        lambda bundle, folder: copy_weights(bundle, folder / "weights"),
        lambda bundle, folder: extract(bundle, folder / "out"),
    ],
    ids=["flat digests", "U", "member", "weights", "extract"],
)
def test_a_bundle_that_is_cut_while_it_is_read_is_named(large, tmp_path, read):
    path = tmp_path / "large.gguf"
    path.write_bytes((large.root / "dist" / "large-1-plain.gguf").read_bytes())
    with opened(path) as bundle:
        at = min(5 * MIB, bundle.placed("lftool/chunks").data_offset)
        os.truncate(path, at)
        with pytest.raises(FormatError, match=r"^large\.gguf: ends unexpectedly at byte [0-9]+$"):
            read(bundle, tmp_path)


def test_extracting_where_nothing_can_be_written_names_the_file(large, tmp_path):
    """A limit on the size of files stands for a disk that is full."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(large.root / "dist" / "large-1-plain.gguf") as bundle:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
        try:
            with pytest.raises(StorageError) as extracted:
                extract(bundle, tmp_path / "out")
            with pytest.raises(StorageError) as copied:
                copy_weights(bundle, tmp_path / "weights")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (extracted.value.message, copied.value.message) == (
        f"cannot write {tmp_path / 'out' / 'model.gguf'}: File too large",
        f"cannot write {tmp_path / 'weights'}: File too large",
    )
