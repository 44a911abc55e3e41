"""What the reader says of a file that is no bundle, and what it reads of one that is."""

from __future__ import annotations

import pytest

from lftool.bundle import reader
from lftool.bundle.bundle_files import opened
from lftool.bundle.structure import CENTRAL_SIZE
from lftool.errors import FormatError
from lftool.testing import tiny_gguf

NO_END = "not a bundle: no end-of-directory record at the end of the file: truncated, extended, or not a bundle"
TEXT = "a text file, neither a bundle nor a GGUF"
PLAIN = "a plain GGUF, not a bundle: nothing in it says who made it or from what"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
PAGE = b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>\n"


def refusal(path) -> tuple[str, tuple[str, ...]]:
    with pytest.raises(FormatError) as caught, opened(path):
        pass
    return caught.value.message, caught.value.hints


def test_a_plain_gguf_is_named_with_the_way_to_a_bundle(tmp_path):
    path = tiny_gguf(tmp_path / "model.gguf", width=32)
    assert refusal(path) == (
        f"model.gguf: {PLAIN}",
        ("make a bundle of it: lftool pack model.gguf",),
    )


@pytest.mark.parametrize("cut", [1, 5000])
def test_a_gguf_that_is_cut_is_not_called_a_plain_one(tmp_path, cut):
    path = tiny_gguf(tmp_path / "model.gguf", width=32)
    path.write_bytes(path.read_bytes()[:-cut])
    assert refusal(path) == (f"model.gguf: {NO_END}", ())


@pytest.mark.parametrize(
    ("data", "message", "hints"),
    [
        (POINTER, "a Git LFS pointer, not the file itself", ("fetch the file: git lfs pull",)),
        (POINTER + b"x" * 1024, TEXT, ()),
        (
            PAGE,
            "a web page, not the file itself",
            ("open the address in a browser: it may show a login or an error",),
        ),
        (b"x" * 512 + PAGE, TEXT, ()),
        (b"something else", TEXT, ()),
        (b"", NO_END, ()),
    ],
    ids=["pointer", "long pointer", "page", "page further down", "something else", "nothing"],
)
def test_another_file_is_named_by_its_first_bytes(tmp_path, data, message, hints):
    (tmp_path / "file").write_bytes(data)
    assert refusal(tmp_path / "file") == (f"file: {message}", hints)


def test_a_document_is_read_up_to_its_limit(release, archive, monkeypatch):
    path, recipe = release.root / "dist" / "tiny-1-plain.gguf", archive.part("lftool/recipe.toml").data
    with opened(path) as bundle:
        monkeypatch.setitem(reader.MAX_DOCUMENTS, "lftool/recipe.toml", len(recipe))
        assert bundle.read_member("lftool/recipe.toml") == recipe
        monkeypatch.setitem(reader.MAX_DOCUMENTS, "lftool/recipe.toml", len(recipe) - 1)
        with pytest.raises(FormatError) as caught:
            bundle.read_member("lftool/recipe.toml")
    assert caught.value.message == (
        f"tiny-1-plain.gguf: lftool/recipe.toml has {len(recipe)} bytes, at most {len(recipe) - 1} are allowed"
    )


def test_a_member_that_should_be_where_the_file_ends_is_refused(plain, tmp_path):
    data = bytearray(plain)
    record = plain.rindex(b"lftool/bundle.json") - CENTRAL_SIZE
    data[record + 42 : record + 46] = len(data).to_bytes(4, "little")
    (tmp_path / "bad.gguf").write_bytes(data)
    told = f"should be at byte {len(data)}, but the file has {len(data)} bytes"
    assert refusal(tmp_path / "bad.gguf") == (f"bad.gguf: not a bundle: lftool/bundle.json {told}", ())
