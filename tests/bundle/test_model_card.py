"""Facts of a model card from GGUF keys, bounded: they stand in every signature."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lftool.api.gguf import GGUFHeader
from lftool.bundle.model_card import ModelCard, model_card
from lftool.codec.canonical import canonical_json


def header(metadata) -> GGUFHeader:
    return GGUFHeader(version=3, alignment=32, metadata=metadata, tensors=(), data_offset=0, size=0, extents={})


def test_what_is_there_is_taken_and_nothing_else() -> None:
    found = model_card(
        header(
            {
                "general.name": "Small",
                "general.license": "apache-2.0",
                "general.author": "somebody",
                "general.base_model.count": 2,
                "general.base_model.0.name": "Older",
                "general.base_model.1.repo_url": "https://example.org/oldest",
            }
        )
    )
    assert found == ModelCard(
        facts={"name": "Small", "license": "apache-2.0"},
        bases=({"name": "Older"}, {"repo_url": "https://example.org/oldest"}),
    )


def test_every_fact_of_a_model_and_of_its_base_has_its_name() -> None:
    own = {name: f"own {name}" for name in ("name", "organization", "license", "repo_url")}
    base = {name: f"base {name}" for name in ("name", "organization", "version", "repo_url")}
    metadata = {f"general.{name}": value for name, value in own.items()}
    metadata |= {f"general.base_model.0.{name}": value for name, value in base.items()}
    assert model_card(header({**metadata, "general.base_model.count": 1})) == ModelCard(facts=own, bases=(base,))


def test_a_card_in_plain_data_lists_its_base_models() -> None:
    card = ModelCard(facts={"name": "a"}, bases=({"name": "b"}, {"name": "c"}))
    assert card.plain() == {"name": "a", "baseModels": [{"name": "b"}, {"name": "c"}]}


def test_base_models_stay_while_the_card_is_within_its_bound(monkeypatch) -> None:
    metadata = {"general.base_model.count": 3} | {f"general.base_model.{index}.name": "x" for index in range(3)}
    size = len(canonical_json(model_card(header(metadata)).plain()))
    for bound, left in ((size, 3), (size - 1, 2)):
        monkeypatch.setattr("lftool.bundle.model_card._MOST_BYTES", bound)
        assert len(model_card(header(metadata)).bases) == left


def test_values_of_another_type_and_empty_ones_are_left_out() -> None:
    metadata = {
        "general.name": 5,
        "general.license": "",
        "general.base_model.count": True,
        "general.base_model.0.name": "x",
    }
    assert model_card(header(metadata)).plain() == {}


@given(st.text(max_size=600), st.integers(-(2**31), 2**31), st.text(max_size=300))
def test_a_card_is_never_longer_than_its_bound(name, count, base) -> None:
    metadata = {"general.name": name, "general.license": name, "general.base_model.count": count}
    for index in range(70):
        for key in ("name", "organization", "version", "repo_url"):
            metadata[f"general.base_model.{index}.{key}"] = base
    assert len(canonical_json(model_card(header(metadata)).plain())) <= 8192 + 1024


def test_the_last_base_models_go_first_where_there_are_too_many() -> None:
    metadata = {"general.base_model.count": 64}
    for index in range(64):
        metadata[f"general.base_model.{index}.name"] = f"{index:03}" + "x" * 252
    bases = model_card(header(metadata)).bases
    assert 20 < len(bases) < 64
    assert [base["name"][:3] for base in bases] == [f"{index:03}" for index in range(len(bases))]
