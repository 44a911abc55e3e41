"""The corpus under schemas/examples is the contract between JSON Schema and converter: they agree on every file.

Rules that no schema can state (a device name, a float that is a whole number, a source that is not there) are unit
tests beside this module.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from attrs import frozen

from lftool.codec.locks import parse_lock
from lftool.codec.manifests import parse_manifest
from lftool.codec.recipes import parse_recipe
from lftool.codec.schemas import SCHEMAS, json_schema
from lftool.errors import LftoolError
from lftool.host.registry import Registry
from lftool.ops.schema import schema_of
from lftool.pipeline.model.planned_checks import planned_checks

SCHEMA_FOLDER = Path(__file__).resolve().parents[2] / "schemas"
VALID = sorted((SCHEMA_FOLDER / "examples" / "valid").iterdir())
INVALID = sorted(path for path in (SCHEMA_FOLDER / "examples" / "invalid").iterdir() if path.suffix != ".txt")


def parse_whole_recipe(data: bytes, what: str):
    """Options of checks are structured once it is known which plugin has their kind."""
    recipe = parse_recipe(data, what)
    planned_checks(recipe, Registry.discovered(third_party=False))
    return recipe


PARSERS = {"recipe": parse_whole_recipe, "lock": parse_lock, "manifest": parse_manifest}


def kind_of(path: Path) -> str:
    return path.name.partition("-")[0]


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


def validator(kind: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema_of(kind))


def plain(path: Path):
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_committed_schema_is_the_generated_one(kind: str):
    committed = (SCHEMA_FOLDER / f"{kind}.v1.schema.json").read_text(encoding="utf-8")
    assert json.loads(committed) == schema_of(kind), "stale: run `make generate` and commit what it writes"


def test_a_model_whose_type_no_schema_expresses_is_an_error_that_names_it(monkeypatch):
    @frozen
    class Odd:
        """A field of two types."""

        either: int | str

    monkeypatch.setitem(SCHEMAS, "odd", Odd)
    with pytest.raises(TypeError, match=r"^no schema for int \| str$"):
        json_schema("odd")


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_is_a_sound_schema(kind: str):
    jsonschema.Draft202012Validator.check_schema(schema_of(kind))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_command_prints_the_committed_schema(kind: str, project):
    committed = (SCHEMA_FOLDER / f"{kind}.v1.schema.json").read_text(encoding="utf-8")
    assert project.run("schema", kind).assert_success().out == committed


@pytest.mark.parametrize("path", VALID, ids=names(VALID))
def test_the_schema_accepts_a_valid_example(path: Path):
    assert [error.message for error in validator(kind_of(path)).iter_errors(plain(path))] == []


@pytest.mark.parametrize("path", VALID, ids=names(VALID))
def test_the_converter_accepts_a_valid_example(path: Path):
    assert PARSERS[kind_of(path)](path.read_bytes(), path.name) is not None


@pytest.mark.parametrize("path", INVALID, ids=names(INVALID))
def test_the_schema_refuses_an_invalid_example(path: Path):
    assert not validator(kind_of(path)).is_valid(plain(path))


@pytest.mark.parametrize("path", INVALID, ids=names(INVALID))
def test_the_converter_refuses_an_invalid_example_with_the_message_beside_it(path: Path):
    with pytest.raises(LftoolError) as caught:
        PARSERS[kind_of(path)](path.read_bytes(), path.name)
    assert f"{caught.value.message}\n" == path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(("kind", "valid", "invalid"), [("recipe", 4, 10), ("lock", 4, 10), ("manifest", 2, 6)])
def test_the_corpus_is_large_enough(kind: str, valid: int, invalid: int):
    assert sum(kind_of(path) == kind for path in VALID) >= valid
    assert sum(kind_of(path) == kind for path in INVALID) >= invalid


def test_every_message_of_the_corpus_belongs_to_an_example():
    messages = {path.stem for path in (SCHEMA_FOLDER / "examples" / "invalid").glob("*.txt")}
    assert messages == set(names(INVALID))


def test_the_recipe_of_the_example_is_valid(repository: Path):
    table = tomllib.loads((repository / "examples" / "tiny-story" / "lftool.toml").read_text(encoding="utf-8"))
    assert validator("recipe").is_valid(table)


def test_the_lock_of_the_example_is_valid(repository: Path):
    table = tomllib.loads((repository / "examples" / "tiny-story" / "lftool.lock").read_text(encoding="utf-8"))
    assert validator("lock").is_valid(table)


def test_every_key_of_a_schema_is_described():
    """A reference carries the description of what it refers to."""
    for kind in SCHEMAS:
        schema = schema_of(kind)
        for table in (schema, *schema["$defs"].values()):
            bare = [
                key
                for key, value in table["properties"].items()
                if value is not True  # of keys that stand in the table of another definition
                and not {"description", "$ref"} & value.keys()
                and "$ref" not in value.get("items", {})
                and "$ref" not in (value.get("additionalProperties") or {})
            ]
            assert bare == []
