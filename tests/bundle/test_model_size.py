"""What of a model takes memory, as the header of its GGUF tells."""

from __future__ import annotations

import pytest

from lftool.api import ModelSize
from lftool.api.gguf import GGUFHeader, GGUFTensor
from lftool.bundle.model_size import model_size
from lftool.formats.ggml_types import GGML_TYPES
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


def size_of(contract: RunContract | None = None, blocks: tuple[str, ...] = ("blk.0.a",), **keys: object) -> ModelSize:
    """The size of a model with tensors of 10 bytes, and these keys of its architecture."""
    metadata = {"general.architecture": "small", **{f"small.{key.replace('__', '.')}": keys[key] for key in keys}}
    tensors = tuple(
        GGUFTensor(name=name, dimensions=(10,), type=GGML_TYPES["I8"], offset=0, size=10) for name in blocks
    )
    header = GGUFHeader(version=3, alignment=32, metadata=metadata, tensors=tensors, data_offset=0, size=0, extents={})
    return model_size(header, contract or RunContract())


def cache_of(**keys: object) -> int:
    (size,) = size_of(**keys).cache
    return size


@pytest.mark.parametrize(
    ("keys", "size"),
    [
        ({"head_count": 4}, 2 * 4 * (16 + 16)),
        ({"head_count": 4, "head_count_kv": 2}, 2 * 2 * (16 + 16)),
        ({"head_count": 4, "key_length": 20}, 2 * 4 * (20 + 16)),
        ({"head_count": 4, "value_length": 30}, 2 * 4 * (16 + 30)),
        ({"head_count": 3}, 2 * 3 * (21 + 21)),
        ({"head_count": 3, "head_count_kv": "an array"}, 2 * 3 * (21 + 21)),
        ({"head_count": 0}, 0),
        ({"head_count": -1}, 0),
        ({"head_count": True}, 0),
        ({"head_count_kv": 2}, 0),
        ({}, 0),
    ],
)
def test_the_cache_holds_keys_and_values_of_every_head_in_16_bits(keys, size):
    attention = {f"attention__{key}": value for key, value in keys.items()}
    assert cache_of(embedding_length=64, **attention) == size


@pytest.mark.parametrize(
    ("kind", "size"), [("f32", 4 * 256), ("bf16", 2 * 256), ("q8_0", 34 * 256 // 32), ("q4_0", 18 * 256 // 32)]
)
def test_the_cache_is_of_the_contracts_type(kind, size):
    found = size_of(RunContract(cache_type=kind), embedding_length=128, attention__head_count=1)
    assert found.cache == (size,)


def test_a_model_without_width_has_no_cache():
    assert cache_of(attention__head_count=1) == 0


def test_layers_are_counted_in_the_order_of_their_numbers():
    size = size_of(blocks=("output", "blk.10.a", "blk.2.a", "blk.2.b", "x.blk.3.a"))
    assert size == ModelSize(weights=50, layers=(20, 10), cache=(0, 0), context=0, asked=False)


def test_a_context_that_neither_contract_nor_model_names_is_0():
    assert size_of().context == 0
    assert size_of(context_length=32).context == 32
    assert size_of(RunContract(context=8), context_length=32).context == 8
