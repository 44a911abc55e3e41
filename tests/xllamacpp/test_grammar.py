"""JSON Schemas become grammars that llama.cpp takes, and whose answers are what the schemas say."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import jsonschema
import llama_cpp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lftool_xllamacpp.grammar import grammar_of

STORY = Path(__file__).parents[2] / "examples" / "tiny-story" / "tiny-story-f16.gguf"
LEAF = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
SCHEMAS = {
    "a boolean": {"type": "boolean"},
    "a word of a list": {"enum": ["red", 'a "quoted" \\ word', 3, None, {"a": [1]}]},
    "a constant": {"const": {"x": "y"}},
    "a short text": {"type": "string", "minLength": 2, "maxLength": 5},
    "a whole number": {"type": "integer"},
    "one of two types": {"type": ["boolean", "null"]},
    "one of two schemas": {"anyOf": [{"type": "boolean"}, LEAF]},
    "one schema of all": {"allOf": [LEAF]},
    "two to three booleans": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
    "up to one boolean": {"type": "array", "items": {"type": "boolean"}, "maxItems": 1},
    "an empty list": {"type": "array", "maxItems": 0},
    "no properties": {"type": "object", "properties": {}, "additionalProperties": False},
    "properties that are all optional": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}},
        "additionalProperties": False,
    },
    "required after optional": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}, "c": {"type": "boolean"}},
        "required": ["b"],
        "additionalProperties": False,
    },
    "a reference": {"$defs": {"leaf/1": LEAF}, "type": "object", "properties": {"it": {"$ref": "#/$defs/leaf~11"}}, "required": ["it"]},
    "a reference to itself": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "more": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
        "required": ["a", "more"],
    },
    "words that say nothing": {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "It", "default": True, "type": "boolean"},
}  # fmt: skip
REFUSED = {
    "a pattern": ({"type": "string", "pattern": "a+"}, "there are no rules for the keyword pattern"),
    "a bound": ({"type": "integer", "minimum": 3}, "there are no rules for the keyword minimum"),
    "a type that is none": ({"type": "word"}, 'there is no type "word"'),
    "several schemas at once": ({"allOf": [LEAF, LEAF]}, "there are no rules for allOf with several schemas"),
    "a choice of nothing": ({"enum": []}, "a choice of nothing"),
    "another document": ({"$ref": "other.json"}, "a reference to another document: other.json"),
    "a reference to nothing": ({"$ref": "#/$defs/x"}, "the reference #/$defs/x points nowhere"),
    "a requirement without a schema": (
        {"properties": {}, "required": ["a"]},
        "the required property 'a' has no schema",
    ),
    "no schema": ([1], "a schema is an object or true, not [1]"),
}


@pytest.fixture(scope="module")
def story():
    return llama_cpp.Llama(str(STORY), n_ctx=256, verbose=False, n_threads=1)


def compiles(model: llama_cpp.Llama, grammar: str) -> bool:
    vocabulary = llama_cpp.llama_model_get_vocab(model.model)
    sampler = llama_cpp.llama_sampler_init_grammar(vocabulary, grammar.encode(), b"root")
    if sampler:
        llama_cpp.llama_sampler_free(sampler)
    return bool(sampler)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_an_answer_is_what_the_schema_says(story, schema):
    grammar = llama_cpp.LlamaGrammar.from_string(grammar_of(json.dumps(schema)), verbose=False)
    for seed in range(5):
        said = story.create_completion(
            "Once", grammar=grammar, temperature=1.0, seed=seed, max_tokens=120, repeat_penalty=1.0
        )
        (choice,) = said["choices"]
        if choice["finish_reason"] == "stop":  # a reference to itself may go on and on
            jsonschema.validate(json.loads(choice["text"]), schema)
    assert choice["text"].lstrip()[:1] in '{["tfn-0123456789'


@pytest.mark.parametrize(("schema", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_expressed_is_said(schema, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared whole
        grammar_of(json.dumps(schema))
    assert str(caught.value) == told


NAMES = st.text(alphabet='ab"\\ü\n', max_size=3)
LEAVES = st.sampled_from(
    [True, {}, *({"type": kind} for kind in ("string", "integer", "number", "boolean", "null", "array", "object"))]
)
ANY = st.recursive(
    LEAVES | st.builds(lambda values: {"enum": values}, st.lists(NAMES | st.integers(), min_size=1, max_size=3)),
    lambda inner: (
        st.builds(lambda items: {"anyOf": items}, st.lists(inner, min_size=1, max_size=3))
        | st.builds(lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 3))
        | st.builds(
            lambda properties, others, count: {"type": "object", "properties": properties, "additionalProperties": others, "required": [*properties][:count]},
            st.dictionaries(NAMES, inner, max_size=3),
            st.booleans() | inner,
            st.integers(0, 3),
        )
    ),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(schema=ANY)
def test_every_grammar_compiles(schema):
    with contextlib.ExitStack() as stack:
        model = llama_cpp.Llama(str(STORY), n_ctx=32, verbose=False, vocab_only=True)
        stack.callback(model.close)
        assert compiles(model, grammar_of(json.dumps(schema)))
