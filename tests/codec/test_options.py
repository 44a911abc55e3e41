"""Options go from the recipe into the class that a plugin declares for them, without coercion on the way."""

from __future__ import annotations

import pytest
from attrs import frozen

from lftool.codec.recipes import parse_recipe
from lftool.codec.toml_in import structure
from lftool.errors import RecipeError

RECIPE = """\
bundle = {{ name = "n", version = "1" }}
model = {{ weights = "b" }}
targets = {{ t = {{ layout = "gguf" }} }}
sources = {{ b = {{ uri = "x:y", options = {{ {} }} }} }}
"""


@frozen(kw_only=True)
class Options:
    """What a plugin declares."""

    scale: float = 1.0
    label: str = ""
    count: int = 0
    flag: bool = False


def options(line: str) -> Options:
    recipe = parse_recipe(RECIPE.format(line).encode(), "lftool.toml")
    return structure(dict(recipe.sources["b"].options), Options, "lftool.toml: sources.b.options", RecipeError)


def test_options_reach_their_class():
    assert options('scale = 1.5, label = "x", count = 2, flag = true') == Options(
        scale=1.5, label="x", count=2, flag=True
    )


def test_an_integer_is_a_real():
    assert options("scale = 2") == Options(scale=2.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("scale = true", "$.scale: expected a number, got a boolean"),
        ('scale = "nan"', "$.scale: 'nan' is not a finite number"),
        ('scale = "warm"', "$.scale: 'warm' is not a decimal number"),
        ("label = 1", "$.label: expected a string, got an integer"),
        ("label = 1.5", "$.label: expected a string, got a float"),
        ('count = "1"', "$.count: expected an integer, got a string"),
        ("flag = 1", "$.flag: expected true or false, got an integer"),
        ("lable = 1", "$.lable: unknown key; did you mean 'label'?"),
    ],
    ids=["boolean", "nan", "word", "integer for text", "real for text", "text for integer", "integer for flag", "typo"],
)
def test_options_of_another_kind_are_refused(line: str, message: str):
    with pytest.raises(RecipeError) as caught:
        options(line)
    assert caught.value.message == f"lftool.toml: sources.b.options: {message}"
