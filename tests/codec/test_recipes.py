from __future__ import annotations

import pytest

from lftool.codec.recipes import emit_recipe, flatten, parse_recipe, recipe_digest, recipe_projection, slice_recipe
from lftool.errors import ExitStatus, RecipeError
from lftool.models.digest import Digest
from lftool.models.recipe import BundleInfo, ModelSpec, Recipe, SignSpec, SourceSpec, TargetSpec
from lftool.models.run_contract import RunContract

BASE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.q4]
layout = "gguf"
quantize = "Q4_K_M"

[run]
context = 512

[sign]
key = "env:KEY"
"""

A_NAME = "letters, digits and . _ + -, at most 64, starting with a letter or digit"
TARGET_KEYS = "backend, detached, layout, layout_options, options, overrides, quantize, quantizer, runtime"


def parse(text: str) -> Recipe:
    return parse_recipe(text.encode(), "lftool.toml")


def edited(*edits: tuple[str, str]) -> str:
    text = BASE
    for old, new in edits:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


def refusal(data: bytes) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(data, "lftool.toml")
    assert caught.value.exit_status is ExitStatus.USAGE
    return caught.value.message


def test_a_flat_table_names_each_value_by_its_path():
    table = {"X": {"a b": 1, ".x": {"c": [1, 2]}}, "empty": {}, "a": "z"}
    assert dict(flatten(table)) == {'X."a b"': 1, 'X.".x".c': [1, 2], "empty": {}, "a": "z"}


def test_a_recipe_is_parsed_into_values():
    assert parse(BASE) == Recipe(
        bundle=BundleInfo(name="tiny", version="1"),
        sources={"base": SourceSpec(uri="file:model.gguf")},
        model=ModelSpec(weights="base"),
        targets={"q4": TargetSpec(layout="gguf", quantize="Q4_K_M")},
        run=RunContract(context=512),
        sign=SignSpec(key="env:KEY"),
    )


def test_every_key_of_a_recipe_is_parsed():
    text = """\
    model = { weights = "base", imatrix = "matrix" }
    bundle = { name = "n", version = "v", license = "MIT", description = "d" }
    [run]
    context = 1
    max_tokens = 2
    seed = 3
    system = "s"
    stop = ["a", "b"]
    top_k = 4
    temperature = 0.70
    top_p = "0.950"
    min_p = 1e-5
    repeat_penalty = 1
    [sources.base]
    uri = "hf://org/repo@main"
    include = ["*.gguf"]
    exclude = ["b", "a"]
    options = { deep = { list = [1, true, "x"] } }
    [sources.matrix]
    uri = "file:imatrix.gguf"
    [targets.q4]
    layout = "llamafile"
    quantize = "Q4_K_M"
    quantizer = "llama.cpp"
    backend = "cuda"
    runtime = "python"
    overrides = { "blk.*.attn_v.weight" = "Q6_K" }
    options = { a = 1 }
    """
    assert parse(text) == Recipe(
        bundle=BundleInfo(name="n", version="v", license="MIT", description="d"),
        sources={
            "base": SourceSpec(
                uri="hf://org/repo@main",
                include=("*.gguf",),
                exclude=("b", "a"),
                options={"deep": {"list": [1, True, "x"]}},
            ),
            "matrix": SourceSpec(uri="file:imatrix.gguf"),
        },
        model=ModelSpec(weights="base", imatrix="matrix"),
        targets={
            "q4": TargetSpec(
                layout="llamafile",
                quantize="Q4_K_M",
                quantizer="llama.cpp",
                backend="cuda",
                runtime="python",
                overrides={"blk.*.attn_v.weight": "Q6_K"},
                options={"a": 1},
            )
        },
        run=RunContract(
            context=1,
            max_tokens=2,
            seed=3,
            system="s",
            stop=("a", "b"),
            top_k=4,
            temperature="0.7",
            top_p="0.95",
            min_p="0.00001",
            repeat_penalty="1",
        ),
    )


URI = 'uri = "file:model.gguf"'
CONTEXT = "context = 512"
TARGET = '[targets.q4]\nlayout = "gguf"\nquantize = "Q4_K_M"\n'
KEY = "a key is named as file:PATH or env:NAME; secrets are never written into a recipe"

BAD_RECIPES: dict[str, tuple[tuple[str, str], str]] = {
    "typo in a target": (
        ("quantize =", "quantise ="),
        "$.targets.q4.quantise: unknown key; did you mean 'quantize'?",
    ),
    "key in another case": (
        ("quantize =", "Quantize ="),
        "$.targets.q4.Quantize: unknown key; did you mean 'quantize'?",
    ),
    "key in upper case": (
        ("quantize =", "QUANTIZE ="),
        "$.targets.q4.QUANTIZE: unknown key; did you mean 'quantize'?",
    ),
    "key like no other": (("quantize =", "zzz ="), f"$.targets.q4.zzz: unknown key; valid: {TARGET_KEYS}"),
    "key that needs quotes": (
        ("quantize =", '"z z" ='),
        f'$.targets.q4."z z": unknown key; valid: {TARGET_KEYS}',
    ),
    "typo in a table": (("[run]", "[rnu]"), "$.rnu: unknown key; did you mean 'run'?"),
    "typo in a source": (("uri =", "url ="), "$.sources.base.uri: missing\n$.sources.base.url: unknown key; did you mean 'uri'?"),
    "typo in the run contract": (
        (CONTEXT, "temprature = 0.5"),
        "$.run.temprature: unknown key; did you mean 'temperature'?",
    ),
    "no bundle": (('[bundle]\nname = "tiny"\nversion = "1"\n', ""), "$.bundle: missing"),
    "no sources": ((f"[sources.base]\n{URI}\n", ""), "$.sources: missing"),
    "no model": (('[model]\nweights = "base"\n', ""), "$.model: missing"),
    "no targets": ((TARGET, ""), "$.targets: missing"),
    "empty targets": ((TARGET, "[targets]\n"), "$.targets: at least one entry is needed under 'targets'"),
    "empty sources": ((f"[sources.base]\n{URI}\n", "[sources]\n"), "$.sources: at least one entry is needed under 'sources'"),
    "no name": (('name = "tiny"\n', ""), "$.bundle.name: missing"),
    "no version": (('version = "1"\n', ""), "$.bundle.version: missing"),
    "no weights": (('weights = "base"\n', ""), "$.model.weights: missing"),
    "no layout": (('layout = "gguf"\n', ""), "$.targets.q4.layout: missing"),
    "no key of sign": (('key = "env:KEY"\n', ""), "$.sign.key: missing"),
    "name as an integer": (('name = "tiny"', "name = 5"), "$.bundle.name: expected a string, got an integer"),
    "version as a float": (('version = "1"', "version = 1.0"), "$.bundle.version: expected a string, got a float"),
    "version as a date": (('version = "1"', "version = 2024-01-01"), "$.bundle.version: expected a string, got date"),
    "bundle as a string": (
        ('[bundle]\nname = "tiny"\nversion = "1"\n', 'bundle = "tiny"\n'),
        "$.bundle: expected a table, got a string",
    ),
    "run as an array": (("[run]", "[[run]]"), "$.run: expected a table, got an array"),
    "target as a string": ((TARGET, '[targets]\nq4 = "Q4_K_M"\n'), "$.targets.q4: expected a table, got a string"),
    "include as a string": (
        (URI, f'{URI}\ninclude = "*.gguf"'),
        "$.sources.base.include: expected an array, got a string",
    ),
    "include with an integer": (
        (URI, f'{URI}\ninclude = ["*.gguf", 3]'),
        "$.sources.base.include[1]: expected a string, got an integer",
    ),
    "options as an integer": ((URI, f"{URI}\noptions = 3"), "$.sources.base.options: expected a table, got an integer"),
    "overrides with an integer": (
        ('layout = "gguf"', 'layout = "gguf"\noverrides = { "blk.*" = 6 }'),
        '$.targets.q4.overrides."blk.*": expected a string, got an integer',
    ),
    "context as a string": ((CONTEXT, 'context = "512"'), "$.run.context: expected an integer, got a string"),
    "context as a float": ((CONTEXT, "context = 512.0"), "$.run.context: expected an integer, got a float"),
    "context as a boolean": ((CONTEXT, "context = true"), "$.run.context: expected an integer, got a boolean"),
    "context as a table": ((CONTEXT, "context = {}"), "$.run.context: expected an integer, got a table"),
    "context of 0": ((CONTEXT, "context = 0"), "$.run.context: 'context' must be >= 1: 0"),
    "max_tokens of 0": ((CONTEXT, "max_tokens = 0"), "$.run.max_tokens: 'max_tokens' must be >= 1: 0"),
    "negative top_k": ((CONTEXT, "top_k = -1"), "$.run.top_k: 'top_k' must be >= 0: -1"),
    "negative seed": ((CONTEXT, "seed = -1"), "$.run.seed: 'seed' must be >= 0: -1"),
    "random seed": ((CONTEXT, "seed = 4294967295"), "$.run.seed: 'seed' must be <= 4294967294: 4294967295"),
    "temperature as a boolean": (
        (CONTEXT, "temperature = true"),
        "$.run.temperature: expected a number, got a boolean",
    ),
    "temperature as an array": (
        (CONTEXT, "temperature = [0.5]"),
        "$.run.temperature: expected a number, got an array",
    ),
    "temperature as a word": (
        (CONTEXT, 'temperature = "warm"'),
        "$.run.temperature: 'warm' is not a decimal number",
    ),
    "temperature nan": ((CONTEXT, "temperature = nan"), "$.run.temperature: nan is not a finite number"),
    "temperature inf": ((CONTEXT, "temperature = inf"), "$.run.temperature: inf is not a finite number"),
    "temperature of 1e31": (
        (CONTEXT, "temperature = 1e31"),
        "$.run.temperature: 1e+31 is out of range: magnitudes from 1e-30 to 1e30",
    ),
    "temperature of absurd magnitude": (
        (CONTEXT, 'temperature = "1e1000000"'),
        "$.run.temperature: '1e1000000' is out of range: magnitudes from 1e-30 to 1e30",
    ),
    "stop as a string": ((CONTEXT, 'stop = "x"'), "$.run.stop: expected an array, got a string"),
    "empty uri": ((URI, 'uri = ""'), "$.sources.base.uri: Length of 'uri' must be >= 1: 0"),
    "name with a space": (('name = "tiny"', 'name = "a b"'), f"$.bundle.name: 'a b' is not a name: {A_NAME}"),
    "name that climbs": (('name = "tiny"', 'name = "../x"'), f"$.bundle.name: '../x' is not a name: {A_NAME}"),
    "empty version": (('version = "1"', 'version = ""'), f"$.bundle.version: '' is not a name: {A_NAME}"),
    "name of a device": (('name = "tiny"', 'name = "con"'), "$.bundle.name: 'con' is a device name on Windows"),
    "source with a space": (("[sources.base]", '[sources."b c"]'), f"$.sources: 'b c' is not a name: {A_NAME}"),
    "target with a slash": (("[targets.q4]", '[targets."q/4"]'), f"$.targets: 'q/4' is not a name: {A_NAME}"),
    "weights of an unknown source": (
        ('weights = "base"', 'weights = "bse"'),
        "$: model.weights names the source 'bse', but the recipe has base",
    ),
    "imatrix of an unknown source": (
        ('weights = "base"', 'weights = "base"\nimatrix = "im"'),
        "$: model.imatrix names the source 'im', but the recipe has base",
    ),
    "key without a scheme": (('"env:KEY"', '"KEY"'), f"$.sign.key: {KEY}"),
    "key without a name": (('"env:KEY"', '"env:"'), f"$.sign.key: {KEY}"),
    "key without anything before the colon": (('"env:KEY"', '":KEY"'), f"$.sign.key: {KEY}"),
    "empty key": (('"env:KEY"', '""'), f"$.sign.key: {KEY}"),
    "date in options": (
        (URI, f"{URI}\noptions = {{ list = [{{ day = 2024-01-01 }}] }}"),
        "$.sources.base.options.list[0].day: expected a string, a number, true or false, an array or a table, got date",
    ),
    "nan in options": (
        ('layout = "gguf"', 'layout = "gguf"\noptions = { scale = nan }'),
        "$.targets.q4.options.scale: nan is not a finite number",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), BAD_RECIPES.values(), ids=BAD_RECIPES.keys())
def test_a_bad_recipe_is_refused(edit: tuple[str, str], message: str):
    expected = "\n".join(f"lftool.toml: {line}" for line in message.split("\n"))
    assert refusal(edited(edit).encode()) == expected


def test_every_problem_of_a_recipe_is_told_at_once():
    text = edited(('name = "tiny"', 'nmae = "tiny"'), ("quantize =", "quantise ="), (CONTEXT, "context = true"))
    assert refusal(text.encode()) == (
        "lftool.toml: $.bundle.name: missing\n"
        "lftool.toml: $.bundle.nmae: unknown key; did you mean 'name'?\n"
        "lftool.toml: $.targets.q4.quantise: unknown key; did you mean 'quantize'?\n"
        "lftool.toml: $.run.context: expected an integer, got a boolean"
    )


def test_a_secret_written_into_a_recipe_is_not_repeated_in_the_message():
    assert "hunter2" not in refusal(edited(('"env:KEY"', '"hunter2"')).encode())


def test_what_is_not_toml_is_refused_with_line_and_column():
    assert refusal(edited(("[run]", "[run")).encode()) == (
        "lftool.toml: not valid TOML: Expected ']' at the end of a table declaration (at line 15, column 5)"
    )


def test_a_table_that_stands_twice_is_refused():
    assert refusal(f"{BASE}[model]\n".encode()) == (
        "lftool.toml: not valid TOML: Cannot declare ('model',) twice (at line 20, column 7)"
    )


def test_what_is_not_utf8_is_refused():
    assert refusal(b"\xff") == (
        "lftool.toml: byte 0xff in line 1 is not UTF-8; the file may be Latin-1 or Windows-1252"
    )


def test_an_integer_of_absurd_length_is_refused():
    message = refusal(edited((CONTEXT, "context = " + "1" * 5000)).encode())
    assert message.startswith(
        "lftool.toml: not valid TOML: Exceeds the limit (4300 digits) for integer string conversion"
    )


def test_absurd_nesting_is_refused():
    message = refusal(edited((CONTEXT, "context = " + "[" * 5000)).encode())
    assert message.startswith("lftool.toml: not valid TOML: ")


def test_an_empty_recipe_is_refused_naming_every_table():
    assert refusal(b"") == (
        "lftool.toml: $.bundle: missing\n"
        "lftool.toml: $.sources: missing\n"
        "lftool.toml: $.model: missing\n"
        "lftool.toml: $.targets: missing"
    )


CANONICAL = b"""\
[bundle]
name = "tiny"
version = "1"

[model]
weights = "base"

[run]
context = 512

[sources.base]
uri = "file:model.gguf"

[targets.q4]
layout = "gguf"
quantize = "Q4_K_M"
"""


def test_the_projection_has_one_spelling():
    assert emit_recipe(parse(BASE)) == CANONICAL


def test_the_digest_is_that_of_the_projection():
    assert recipe_digest(parse(BASE)) == Digest.of(CANONICAL)


UNCHANGED = {
    "comments": BASE.replace("\n", " # a comment\n", 1),
    "blank lines": BASE.replace("\n", "\n\n"),
    "carriage returns": BASE.replace("\n", "\r\n"),
    "no [sign]": BASE[: BASE.index("[sign]")],
    "checks": f'{BASE}\n[[checks]]\nkind = "prompt"\nprompt = "a"\ncontains = "b"\n',
    "a plugin allowed": f'{BASE}\n[plugins]\nlftool-s3 = ">=1"\n',
    "another key": edited(("env:KEY", "file:other.key")),
    "inline tables": edited((f"[sources.base]\n{URI}\n", "")).replace(
        "[bundle]", 'sources = { base = { uri = "file:model.gguf" } }\n[bundle]'
    ),
    "a default spelt out": edited(("[run]", "[run]\nstop = []")).replace("quantize =", 'backend = "cpu"\nquantize ='),
    "an integer in hex": edited((CONTEXT, "context = 0x200")),
}


@pytest.mark.parametrize("text", UNCHANGED.values(), ids=UNCHANGED.keys())
def test_what_changes_no_byte_that_is_built_leaves_the_digest(text: str):
    assert recipe_digest(parse(text)) == recipe_digest(parse(BASE))


@pytest.mark.parametrize("spelling", ["0.5", "0.50", "5e-1", '"0.5"', '".5"'])
def test_a_real_is_the_same_however_it_is_spelt(spelling: str):
    assert recipe_projection(parse(edited((CONTEXT, f"temperature = {spelling}"))))["run"] == {"temperature": "0.5"}


CHANGED = {
    "bundle name": edited(('"tiny"', '"tiny2"')),
    "bundle version": edited(('version = "1"', 'version = "2"')),
    "uri": edited(("file:model", "file:other")),
    "layout": edited(('"gguf"', '"llamafile"')),
    "quantize": edited(("Q4_K_M", "Q4_K_S")),
    "target name": edited(("[targets.q4]", "[targets.q5]")),
    "run contract": edited(("512", "513")),
    "options": edited((URI, f"{URI}\noptions = {{ a = 1.5 }}")),
}


@pytest.mark.parametrize("text", CHANGED.values(), ids=CHANGED.keys())
def test_what_changes_a_byte_that_is_built_changes_the_digest(text: str):
    assert recipe_digest(parse(text)) != recipe_digest(parse(BASE))


def test_a_real_in_options_has_its_canonical_form_in_the_projection():
    text = edited((URI, f"{URI}\noptions = {{ deep = [{{ scale = 1.50 }}] }}"))
    assert recipe_projection(parse(text))["sources"]["base"]["options"] == {"deep": [{"scale": "1.5"}]}


def test_the_projection_is_a_recipe_whose_projection_it_is():
    recipe = parse(BASE)
    assert emit_recipe(parse_recipe(emit_recipe(recipe), "slice")) == emit_recipe(recipe)


TWO = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[sources.matrix]
uri = "file:imatrix.gguf"
[sources.unused]
uri = "file:other.gguf"
[model]
weights = "base"
imatrix = "matrix"
[targets.q4]
layout = "gguf"
quantize = "Q4_K_M"
[targets.plain]
layout = "gguf"
[run]
context = 512
[sign]
key = "env:KEY"
"""


def test_a_slice_holds_what_concerns_its_target():
    assert (
        emit_recipe(slice_recipe(parse(TWO), "q4"))
        == b"""\
[bundle]
name = "tiny"
version = "1"

[model]
imatrix = "matrix"
weights = "base"

[run]
context = 512

[sources.base]
uri = "file:model.gguf"

[sources.matrix]
uri = "file:imatrix.gguf"

[targets.q4]
layout = "gguf"
quantize = "Q4_K_M"
"""
    )


def test_a_slice_of_weights_as_they_are_has_no_imatrix():
    assert (
        emit_recipe(slice_recipe(parse(TWO), "plain"))
        == b"""\
[bundle]
name = "tiny"
version = "1"

[model]
weights = "base"

[run]
context = 512

[sources.base]
uri = "file:model.gguf"

[targets.plain]
layout = "gguf"
"""
    )


def test_a_slice_does_not_depend_on_other_targets_sources_plugins_checks_or_the_key():
    other = TWO.replace('"file:other.gguf"', '"file:another.gguf"').replace("env:KEY", "file:x")
    other += '[[checks]]\nkind = "prompt"\nprompt = "a"\ncontains = "b"\n[plugins]\nlftool-s3 = ">=1"\n'
    other = other.replace('[targets.plain]\nlayout = "gguf"', '[targets.q8]\nlayout = "llamafile"\nquantize = "Q8_0"')
    assert slice_recipe(parse(other), "q4") == slice_recipe(parse(TWO), "q4")


def test_a_slice_of_a_slice_is_itself():
    once = slice_recipe(parse(TWO), "q4")
    assert slice_recipe(once, "q4") == once


def test_flatten_gives_one_path_per_value_sorted_and_quoted():
    nested = {"b": {"x.y": 1, "a": [1, {"z": 2}]}, "a": True, "c": {}}
    assert list(flatten(nested)) == [("a", True), ("b.a", [1, {"z": 2}]), ('b."x.y"', 1), ("c", {})]
