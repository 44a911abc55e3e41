"""Arrays of texts in a GGUF's metadata."""

from __future__ import annotations

import io

import pytest

from lftool.formats.gguf_arrays import text_array
from lftool.formats.gguf_read import read_gguf
from lftool.formats.gguf_write import write_gguf

METADATA = {"general.architecture": "llama", "texts": ("a", "", "é▁"), "numbers": (1, 2), "one": "a"}


@pytest.fixture
def model():
    file = io.BytesIO()
    write_gguf(file, METADATA, [])
    size = file.tell()
    return file, read_gguf(file, size, "a model").metadata


def test_its_texts_are_told_as_bytes(model):
    file, metadata = model
    assert text_array(file, metadata["texts"]) == [b"a", b"", "é▁".encode()]


def test_a_gguf_may_begin_later_in_the_file(model):
    file, metadata = model
    assert text_array(io.BytesIO(b"before" + file.getvalue()), metadata["texts"], 6) == [b"a", b"", "é▁".encode()]


@pytest.mark.parametrize("key", ["numbers", "one", "missing"])
def test_what_is_no_array_of_texts_has_none(model, key):
    file, metadata = model
    assert text_array(file, metadata.get(key)) is None
