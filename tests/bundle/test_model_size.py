"""What of a model takes memory, as the header of its GGUF tells."""

from __future__ import annotations

import pytest

from lftool.api import ModelSize
from lftool.bundle.model_size import model_size
from lftool.formats.gguf_read import read_gguf
from lftool.models.run_contract import RunContract
from lftool.testing import tiny_gguf

MATRIX, NORM = 2 * 256 * 256, 4 * 256
LAYER = 7 * MATRIX + 2 * NORM


@pytest.fixture
def header(tmp_path):
    with tiny_gguf(tmp_path / "model.gguf", layers=2).open("rb") as file:
        return read_gguf(file, None, "model.gguf")


def test_a_contracts_context_is_every_requests(header):
    assert model_size(header, RunContract(context=16)) == ModelSize(
        weights=2 * LAYER + 2 * MATRIX + NORM,
        layers=(LAYER, LAYER),
        cache=(2 * 2 * 256,) * 2,
        context=16,
        asked=True,
    )


def test_without_one_requests_share_the_length_of_the_model(header):
    size = model_size(header, RunContract())
    assert (size.context, size.asked) == (64, False)
    assert size.served(4) == size
