"""GGUFs that llama.cpp reads and lftool refuses get a sound copy: `lftool gguf repair IN OUT` says what it changed."""

from __future__ import annotations

import pytest

from lftool.formats.gguf_read import read_gguf
from lftool.testing import tiny_gguf

HINT = "  hint: write a sound copy: lftool gguf repair IN OUT\n"


def without_padding(data: bytes) -> bytes:
    """As mlx's `save_gguf` ends: with the last weight."""
    return data[:-16]


def with_more_behind(data: bytes) -> bytes:
    return data + b"something else" * 3


DAMAGES = {
    "no padding at the end": (
        without_padding,
        "16 padding bytes are missing after the last tensor",
        "16 padding bytes are added after the last tensor",
    ),
    "bytes behind": (
        with_more_behind,
        "42 bytes follow the last tensor",
        "42 bytes after the last tensor are left out",
    ),
}


@pytest.fixture
def weights(plain_project):
    """Weights whose last tensor needs 16 bytes of padding."""
    return tiny_gguf(plain_project.root / "model.gguf", width=36)


def tensors(path) -> dict[str, bytes]:
    data = path.read_bytes()
    with path.open("rb") as file:
        header = read_gguf(file, len(data), "weights")
    begin = header.data_offset
    return {each.name: data[begin + each.offset : begin + each.offset + each.size] for each in header.tensors}


@pytest.mark.parametrize(("damage", "refusal", "change"), DAMAGES.values(), ids=DAMAGES.keys())
def test_what_can_be_mended_is_refused_with_the_command_that_mends_it(plain_project, weights, damage, refusal, change):
    before = tensors(weights)
    weights.write_bytes(damage(weights.read_bytes()))
    done = plain_project.run("lock")
    assert (done.status, done.err) == (4, f"error: source 'base': not a sound GGUF: {refusal}\n{HINT}")
    mended = plain_project.run("gguf", "repair", "model.gguf", "sound.gguf")
    assert (mended.status, mended.out, mended.err) == (0, f"{change}\n", "wrote sound.gguf\n")
    assert tensors(plain_project.root / "sound.gguf") == before
    plain_project.write_recipe(plain_project.recipe.read_text().replace("model.gguf", "sound.gguf"))
    plain_project.run("lock").assert_success()


def test_text_that_is_not_utf_8_becomes_the_replacement_character(plain_project, tmp_path):
    from lftool.formats.gguf_write import TensorData, write_gguf

    path = plain_project.root / "model.gguf"
    with path.open("wb") as file:
        metadata = {"general.architecture": "llama", "general.name": "cafXX", "llama.block_count": 1}
        write_gguf(file, metadata, [TensorData(name="a", dimensions=(8,), type="F32", data=bytes(range(32)))])
    path.write_bytes(path.read_bytes().replace(b"cafXX", b"caf\xe9\xe8"))
    done = plain_project.run("lock")
    assert (done.status, done.err) == (
        4,
        f"error: source 'base': not a sound GGUF: the value of 'general.name' is not UTF-8\n{HINT}",
    )
    mended = plain_project.run("gguf", "repair", "model.gguf", "sound.gguf", "--json").assert_success().json()
    assert mended == {
        "changes": ["the value of 'general.name' is not UTF-8: replaced its invalid bytes with U+FFFD"],
        "written": True,
    }
    sound = plain_project.root / "sound.gguf"
    with sound.open("rb") as file:
        header = read_gguf(file, sound.stat().st_size, "sound")
    assert dict(header.metadata) == {**metadata, "general.name": "caf\ufffd\ufffd"}
    assert tensors(sound) == {"a": bytes(range(32))}


def test_a_sound_one_is_left_alone(plain_project, weights):
    done = plain_project.run("gguf", "repair", "model.gguf", "sound.gguf")
    assert (done.status, done.out, done.err) == (0, "", "model.gguf is sound: nothing written\n")
    assert not (plain_project.root / "sound.gguf").exists()


def test_one_that_is_cut_cannot_be_mended(plain_project, weights):
    weights.write_bytes(weights.read_bytes()[:-200])
    done = plain_project.run("gguf", "repair", "model.gguf", "sound.gguf")
    assert (done.status, "it is truncated, or its header lies" in done.err) == (4, True)
    assert not (plain_project.root / "sound.gguf").exists()


def test_nothing_is_replaced(plain_project, weights):
    weights.write_bytes(with_more_behind(weights.read_bytes()))
    (plain_project.root / "sound.gguf").write_text("mine")
    done = plain_project.run("gguf", "repair", "model.gguf", "sound.gguf")
    assert (done.status, done.err) == (2, "error: sound.gguf already exists\n  hint: name another file\n")
    assert (plain_project.root / "sound.gguf").read_text() == "mine"
