"""What a run contract may say."""

from __future__ import annotations

import json

import pytest
from attrs import fields

from lftool.models.answer_schemas import parse_answer_schema
from lftool.models.run_contract import RunContract
from lftool.models.run_keys import FIRST_RUN_KEYS, RUN_KEYS


def refusal(**said) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        RunContract(**said)
    return str(caught.value)


def test_every_field_but_publish_is_a_key():
    assert sorted(RUN_KEYS) == sorted(item.name for item in fields(RunContract) if item.name != "publish")


def test_the_keys_of_api_2_0_stay():
    known = "context max_tokens min_p repeat_penalty seed stop system temperature top_k top_p"
    assert known.split() == list(FIRST_RUN_KEYS)


def test_it_tells_which_keys_it_sets():
    contract = RunContract(top_k=0, stop=("x",), reasoning="off", publish=True)
    assert contract.said == ("reasoning", "stop", "top_k")
    assert RunContract().said == ()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"grammar": 'root ::= "a"', "json_schema": "{}"},
            "'grammar' and 'json_schema' both say what an answer is: keep one",
        ),
        ({"grammar": "root ::= a"}, "line 1 of the grammar: there is no rule a"),
        ({"rope_scale": "2"}, '\'rope_scale\' needs rope_scaling = "linear" or "yarn"'),
        ({"rope_scale": "2", "rope_scaling": "none"}, '\'rope_scale\' needs rope_scaling = "linear" or "yarn"'),
        (
            {"yarn_original_context": 9, "rope_scaling": "linear"},
            "'yarn_original_context' needs rope_scaling = \"yarn\"",
        ),
        (
            {"rope_scaling": "yarn", "rope_scale": "2", "yarn_original_context": 2**30},
            "'yarn_original_context' times 'rope_scale' must be at most 2147483647",
        ),
        ({"rope_scaling": "yarn", "rope_scale": "0.5"}, "'rope_scale' must be from 1 to 1000, not 0.5"),
        ({"stop_tokens": ("a", "a")}, "'stop_tokens' must be up to 64 texts, none empty, none twice"),
        ({"stop_tokens": ("",)}, "'stop_tokens' must be up to 64 texts, none empty, none twice"),
        ({"stop_tokens": tuple(map(str, range(65)))}, "'stop_tokens' must be up to 64 texts, none empty, none twice"),
    ],
)
def test_what_does_not_fit_is_refused(said, told):
    assert refusal(**said) == told


def test_a_schema_is_read():
    assert parse_answer_schema('{"type": "object", "$ref": "#/$defs/a"}') == {"type": "object", "$ref": "#/$defs/a"}


@pytest.mark.parametrize(
    "schema",
    [
        {"const": {"minItems": 5000, "$ref": "http://a.example"}},
        {"const": "\\u0000"},
        {"enum": [{"type": "word"}], "default": {"required": 5}},
        {"properties": {"minItems": {"type": "integer"}, "$ref": True}, "additionalProperties": False},
    ],
)
def test_what_a_schema_holds_as_data_is_not_looked_at(schema):
    assert parse_answer_schema(json.dumps(schema)) == schema


def nested(depth: int) -> str:
    return '{"items": ' * depth + "{}" + "}" * depth


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "a schema is JSON: line 1, column 2: Expecting property name enclosed in double quotes"),
        ('{"minimum": NaN}', "NaN is no JSON"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "the schema has the key 'b' twice"),
        (r'{"enum": ["\ud800"]}', "the schema has half of a surrogate pair, which is no character"),
        (r'{"const": "\\\u0000"}', "the schema has the character U+0000, which no answer has"),
        ("[]", "a schema is an object, not []"),
        (json.dumps({"enum": ["x" * 65523]}), "a schema of 65537 characters, where 65536 are the most"),
        ('{"const": 1e400}', "the schema has a number that is too large"),
        (nested(32), "the schema is too large, or too deep"),
        (nested(5000), "the schema is too large, or too deep"),
        (json.dumps({"enum": list(range(5000))}), "the schema is too large, or too deep"),
        ('{"items": {"maxItems": 1001}}', "the schema's maxItems must be a whole number from 0 to 1000, not 1001"),
        ('{"minItems": 2.5}', "the schema's minItems must be a whole number from 0 to 1000, not 2.5"),
        ('{"minLength": 5, "maxLength": 2}', "the schema's minLength is 5, and its maxLength 2"),
        ('{"enum": []}', "the schema's enum must be a list that is not empty, not []"),
        ('{"properties": []}', "the schema's properties must be an object, not []"),
        ('{"required": "a"}', "the schema's required must be a list of names"),
        (
            '{"type": ["string", "word"]}',
            'the schema\'s type is ["string", "word"]; there are string, integer, number, boolean, null, array, object',
        ),
        ('{"$ref": "https://a.example/x"}', "the schema refers to another document: https://a.example/x"),
        ('{"anyOf": [{"$ref": "other.json#/a"}]}', "the schema refers to another document: other.json#/a"),
    ],
)
def test_a_schema_that_cannot_be_a_bounded_grammar_is_refused(text, told):
    assert refusal(json_schema=text) == told
