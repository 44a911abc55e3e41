from __future__ import annotations

import attrs
import pytest

from lftool.codec.locks import differences, emit_lock, locked_recipe, parse_lock, slice_lock
from lftool.codec.recipes import parse_recipe, recipe_digest, slice_recipe
from lftool.errors import ExitStatus, LockError
from lftool.models.digest import Digest
from lftool.models.lock import (
    Lock,
    LockedConvert,
    LockedFile,
    LockedPack,
    LockedPlugin,
    LockedQuantize,
    LockedRecipe,
    LockedRuntime,
    LockedSource,
    LockedTarget,
    LockedTool,
)

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64

BASE = f"""\
# Written by lftool; commit it, and do not edit it. Change lftool.toml, then run `lftool lock`.

lock-version = 1
rules = 1

[plugins.lftool-llamacpp]
sha256 = "{ONE}"
version = "0.1.0"

[recipe]
sha256 = "{TWO}"

[recipe.fields]
"bundle.name" = "tiny"
"run.context" = 512

[runtimes."python/1"]
sha256 = "{THREE}"

[sources.base]
revision = "r1"
uri = "file:model.gguf"

[[sources.base.files]]
path = "a.gguf"
sha256 = "{ONE}"
size = 10

[[sources.base.files]]
path = "b.gguf"
sha256 = "{TWO}"
size = 20

[targets.q4]
runtime = "python/1"

[targets.q4.pack]
action = "{ONE}"
manifest = "{TWO}"
sha256 = "{THREE}"
size = 30

[targets.q4.quantize]
action = "{TWO}"
plan = "{THREE}"
quantizer = "llama.cpp"
semantics = "ggml-q/1"
sha256 = "{ONE}"
size = 40
uses = "Q4_K_M"

[tools."ggml-q/1".fingerprints]
Q4_K_M = "{ONE}"
Q8_0 = "{TWO}"

[tools."ggml-q/1".providers]
"llama.cpp" = "0.3.36"
"""

VALUE = Lock(
    recipe=LockedRecipe(sha256=Digest(TWO), fields={"bundle.name": "tiny", "run.context": 512}),
    sources={
        "base": LockedSource(
            uri="file:model.gguf",
            revision="r1",
            files=(
                LockedFile(path="a.gguf", size=10, sha256=Digest(ONE)),
                LockedFile(path="b.gguf", size=20, sha256=Digest(TWO)),
            ),
        )
    },
    plugins={"lftool-llamacpp": LockedPlugin(version="0.1.0", sha256=Digest(ONE))},
    tools={
        "ggml-q/1": LockedTool(
            providers={"llama.cpp": "0.3.36"}, fingerprints={"Q4_K_M": Digest(ONE), "Q8_0": Digest(TWO)}
        )
    },
    runtimes={"python/1": LockedRuntime(sha256=Digest(THREE))},
    targets={
        "q4": LockedTarget(
            runtime="python/1",
            quantize=LockedQuantize(
                semantics="ggml-q/1",
                uses="Q4_K_M",
                quantizer="llama.cpp",
                plan=Digest(THREE),
                action=Digest(TWO),
                sha256=Digest(ONE),
                size=40,
            ),
            pack=LockedPack(action=Digest(ONE), manifest=Digest(TWO), sha256=Digest(THREE), size=30),
        )
    },
)

RELOCK = ("restore it from version control, or delete it and run `lftool lock` to pin everything again",)


def refused(text: str) -> LockError:
    with pytest.raises(LockError) as caught:
        parse_lock(text.encode(), "lftool.lock")
    return caught.value


def edited(old: str, new: str) -> str:
    assert BASE.count(old) == 1
    return BASE.replace(old, new)


def test_a_lock_is_parsed_into_values():
    assert parse_lock(BASE.encode(), "lftool.lock") == VALUE


def test_a_lock_has_one_spelling():
    assert emit_lock(VALUE).decode() == BASE


def test_emitting_a_lock_that_is_spelt_otherwise_brings_back_the_one_spelling():
    text = "# a comment\r\n" + BASE.replace("\n", "\r\n").replace(" = ", "=")
    assert emit_lock(parse_lock(text.encode(), "lftool.lock")).decode() == BASE


BAD_LOCKS = {
    "missing sha256 of a file": (
        edited(f'path = "a.gguf"\nsha256 = "{ONE}"\n', 'path = "a.gguf"\n'),
        "$.sources.base.files[0].sha256: missing",
    ),
    "empty sha256 of a file": (
        edited(f'path = "a.gguf"\nsha256 = "{ONE}"\n', 'path = "a.gguf"\nsha256 = ""\n'),
        "$.sources.base.files[0].sha256: a sha256 is 64 lower-case hex digits, not ''",
    ),
    "sha256 of a file as an integer": (
        edited(f'path = "b.gguf"\nsha256 = "{TWO}"\n', f'path = "b.gguf"\nsha256 = {TWO}\n'),
        "$.sources.base.files[1].sha256: expected a sha256, got an integer",
    ),
    "sha256 in upper case": (
        edited(f'path = "a.gguf"\nsha256 = "{ONE}"\n', f'path = "a.gguf"\nsha256 = "{"A" * 64}"\n'),
        f"$.sources.base.files[0].sha256: a sha256 is 64 lower-case hex digits, not '{'A' * 64}'",
    ),
    "missing size of a file": (edited("size = 10\n", ""), "$.sources.base.files[0].size: missing"),
    "size of a file as a string": (
        edited("size = 10\n", 'size = "10"\n'),
        "$.sources.base.files[0].size: expected an integer, got a string",
    ),
    "size of a file as a float": (
        edited("size = 10\n", "size = 10.0\n"),
        "$.sources.base.files[0].size: expected an integer, got a float",
    ),
    "size of a file as a boolean": (
        edited("size = 10\n", "size = true\n"),
        "$.sources.base.files[0].size: expected an integer, got a boolean",
    ),
    "negative size": (edited("size = 10\n", "size = -10\n"), "$.sources.base.files[0].size: 'size' must be >= 0: -10"),
    "path that leaves the source": (
        edited('path = "a.gguf"', 'path = "../a.gguf"'),
        "$.sources.base.files[0].path: '../a.gguf' is not a relative path with / between its parts",
    ),
    "unsorted files": (
        edited('path = "a.gguf"', 'path = "c.gguf"'),
        "$.sources.base: files must be sorted by path, without a duplicate",
    ),
    "duplicate file": (
        edited('path = "a.gguf"', 'path = "b.gguf"'),
        "$.sources.base: files must be sorted by path, without a duplicate",
    ),
    "missing revision": (edited('revision = "r1"\n', ""), "$.sources.base.revision: missing"),
    "extra key of a file": (
        edited("size = 10\n", 'size = 10\nmd5 = "x"\n'),
        "$.sources.base.files[0].md5: unknown key; valid: path, revision, sha256, size",
    ),
    "extra key of a target": (
        edited('runtime = "python/1"\n', 'runtime = "python/1"\nrutime = "x"\n'),
        "$.targets.q4.rutime: unknown key; did you mean 'runtime'?",
    ),
    "extra table": (f"{BASE}[signatures]\n", "$.signatures: unknown key; valid: convert, lock-version, plugins, recipe, rules, runtimes, sources, targets, tools"),
    "underscore for dash": (
        edited("lock-version = 1\n", "lock-version = 1\nlock_version = 1\n"),
        "$.lock_version: unknown key; did you mean 'lock-version'?",
    ),
    "missing version": (edited("lock-version = 1\n", ""), "$.lock-version: missing"),
    "missing rules": (edited("rules = 1\n", ""), "$.rules: missing"),
    "version 0": (edited("lock-version = 1\n", "lock-version = 0\n"), "$: lock-version must be 1, not 0"),
    "version as a string": (edited("lock-version = 1\n", 'lock-version = "1"\n'), "$: lock-version must be 1, not '1'"),
    "version as a float": (edited("lock-version = 1\n", "lock-version = 1.0\n"), "$: lock-version must be 1, not 1.0"),
    "version as a boolean": (edited("lock-version = 1\n", "lock-version = true\n"), "$: lock-version must be 1, not True"),
    "rules 0": (edited("rules = 1\n", "rules = 0\n"), "$: rules must be 1, not 0"),
    "missing recipe": (
        edited(f'[recipe]\nsha256 = "{TWO}"\n\n[recipe.fields]\n"bundle.name" = "tiny"\n"run.context" = 512\n', ""),
        "$.recipe: missing",
    ),
    "half an output of quantize": (
        edited("size = 40\n", ""),
        "$.targets.q4.quantize: an output needs both sha256 and size",
    ),
    "part of an output of pack": (
        edited(f'manifest = "{TWO}"\n', ""),
        "$.targets.q4.pack: an output needs manifest, sha256 and size together",
    ),
    "fingerprint that is not there": (
        edited('uses = "Q4_K_M"', 'uses = "Q5_K_M"'),
        "$: targets.q4.quantize uses 'Q5_K_M' of 'ggml-q/1', which is not in tools",
    ),
    "tool that is not there": (
        edited('semantics = "ggml-q/1"', 'semantics = "ggml-q/2"'),
        "$: targets.q4.quantize uses 'Q4_K_M' of 'ggml-q/2', which is not in tools",
    ),
    "runtime that is not there": (
        edited('runtime = "python/1"', 'runtime = "python/2"'),
        "$: targets.q4.runtime is 'python/2', which is not in runtimes",
    ),
    "sources as an array": ("sources = []\n" + edited(BASE[BASE.index("[sources.base]") : BASE.index("[targets.q4]")], ""), "$.sources: expected a table, got an array"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_LOCKS.values(), ids=BAD_LOCKS.keys())
def test_a_bad_lock_is_refused_and_the_hint_says_how_to_write_it_again(text: str, message: str):
    error = refused(text)
    assert (error.message, error.hints) == (f"lftool.lock: {message}", RELOCK)


def test_a_negative_output_size_is_refused():
    assert refused(edited("size = 40\n", "size = -1\n")).message == (
        "lftool.lock: $.targets.q4.quantize.size: 'size' must be >= 0: -1"
    )


@pytest.mark.parametrize("key", ["lock-version", "rules"])
def test_a_lock_of_the_future_is_refused_before_its_unknown_keys(key: str):
    error = refused("novelty = 1\n" + edited(f"{key} = 1\n", f"{key} = 2\n"))
    assert (error.message, error.hints) == (
        f"lftool.lock: {key} is 2, this lftool knows 1",
        ("use the lftool that wrote it, or a newer one",),
    )


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD", "=======", ">>>>>>> main"])
def test_a_merge_marker_is_refused_naming_its_line(marker: str):
    error = refused(edited("rules = 1\n", f"{marker}\nrules = 1\n"))
    assert (error.message, error.hints) == (
        "lftool.lock: line 4 is a merge conflict marker",
        ("take either side, then run `lftool lock`: it keeps every pin that still fits the recipe",),
    )


def test_a_merge_marker_is_found_in_a_file_with_windows_lines():
    text = edited("rules = 1\n", "<<<<<<< HEAD\nrules = 1\n").replace("\n", "\r\n")
    assert refused(text).message == "lftool.lock: line 4 is a merge conflict marker"


def test_what_is_not_toml_is_refused():
    error = refused("rules = \n")
    assert (error.message, error.hints, error.exit_status) == (
        "lftool.lock: not valid TOML: Invalid value (at line 1, column 9)",
        RELOCK,
        ExitStatus.LOCK,
    )


def test_an_empty_lock_is_refused():
    assert refused("").message == "lftool.lock: $.lock-version: missing"


@pytest.mark.parametrize("end", range(5, len(BASE), 97))
def test_a_lock_cut_short_is_a_lock_error_or_a_lock(end: int):
    try:
        made = parse_lock(BASE[:end].encode(), "lftool.lock")
    except LockError:
        return
    assert emit_lock(made).decode().removesuffix("\n") in BASE


RECIPE = parse_recipe(
    b"""\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[sources.other]
uri = "file:other.gguf"
[model]
weights = "base"
[targets.q4]
layout = "llamafile"
quantize = "Q4_K_M"
[targets.plain]
layout = "gguf"
[run]
temperature = 0.50
""",
    "lftool.toml",
)


def test_a_lock_remembers_the_digest_and_the_fields_of_the_recipe():
    assert locked_recipe(RECIPE) == LockedRecipe(
        sha256=recipe_digest(RECIPE),
        fields={
            "bundle.name": "tiny",
            "bundle.version": "1",
            "model.weights": "base",
            "run.temperature": "0.5",
            "sources.base.uri": "file:model.gguf",
            "sources.other.uri": "file:other.gguf",
            "targets.plain.layout": "gguf",
            "targets.q4.layout": "llamafile",
            "targets.q4.quantize": "Q4_K_M",
        },
    )


def test_what_a_lock_remembers_of_options_with_a_real_can_be_written():
    recipe = parse_recipe(
        b'bundle = { name = "n", version = "1" }\nmodel = { weights = "base" }\ntargets = { t = { layout = "gguf" } }\n'
        b'[sources.base]\nuri = "x:y"\noptions = { scale = 1.50, deep = [{ a = 0.1 }] }\n',
        "lftool.toml",
    )
    source = LockedSource(
        uri="x:y",
        options=recipe.sources["base"].options,
        revision="r",
        files=(LockedFile(path="a", size=1, sha256=Digest(ONE)),),
    )
    lock = Lock(recipe=locked_recipe(recipe), sources={"base": source}, targets={"t": LockedTarget()})
    assert emit_lock(parse_lock(emit_lock(lock), "lftool.lock")) == emit_lock(lock)


def whole_lock() -> Lock:
    """The lock above, with a second target and a second source."""
    other = LockedSource(uri="x", revision="r", files=(LockedFile(path="x", size=1, sha256=Digest(ONE)),))
    plain = LockedTarget(pack=LockedPack(action=Digest(ONE)))
    return Lock(
        recipe=VALUE.recipe,
        sources={**VALUE.sources, "other": other},
        plugins=VALUE.plugins,
        tools=VALUE.tools,
        runtimes={**VALUE.runtimes, "python/2": LockedRuntime(sha256=Digest(ONE))},
        targets={**VALUE.targets, "plain": plain},
    )


def test_a_slice_names_semantics_and_inputs_and_nothing_of_who_built_it():
    assert slice_lock(whole_lock(), RECIPE, "q4") == Lock(
        recipe=LockedRecipe(sha256=recipe_digest(slice_recipe(RECIPE, "q4"))),
        sources=VALUE.sources,
        tools={"ggml-q/1": LockedTool(fingerprints={"Q4_K_M": Digest(ONE)})},
        runtimes=VALUE.runtimes,
        targets={
            "q4": LockedTarget(
                runtime="python/1",
                quantize=LockedQuantize(
                    semantics="ggml-q/1",
                    uses="Q4_K_M",
                    plan=Digest(THREE),
                    action=Digest(TWO),
                    sha256=Digest(ONE),
                    size=40,
                ),
            )
        },
    )


def test_a_slice_keeps_what_decides_bytes_of_converters_and_compiled_runtimes():
    archive = LockedSource(uri="x", revision="r", files=(LockedFile(path="x", size=1, sha256=Digest(ONE)),))
    tool = LockedTool(fingerprints={"f16": Digest(TWO)})
    conversion = LockedConvert(
        semantics="hf-gguf/1", uses="f16", plan=Digest(ONE), action=Digest(TWO), sha256=Digest(THREE), size=9
    )
    runtime = LockedRuntime(sha256=Digest(ONE), executable=Digest(TWO), size=5, archive=archive)
    target = VALUE.targets["q4"]
    lock = attrs.evolve(
        VALUE,
        tools={**VALUE.tools, "hf-gguf/1": attrs.evolve(tool, archive=archive, providers={"torch": "2"})},
        convert={"weights": attrs.evolve(conversion, converter_name="llama.cpp")},
        runtimes={"python/1": attrs.evolve(runtime, toolchain="gcc 12")},
        targets={"q4": attrs.evolve(target, quantize=attrs.evolve(target.quantize, mixture="ggml-mix/1"))},
    )

    made = slice_lock(lock, RECIPE, "q4")

    assert (made.tools["hf-gguf/1"], made.convert, made.runtimes, made.targets) == (
        tool,
        {"weights": conversion},
        {"python/1": runtime},
        slice_lock(VALUE, RECIPE, "q4").targets,
    )


def test_a_slice_of_weights_as_they_are_needs_no_tool_or_runtime():
    assert slice_lock(whole_lock(), RECIPE, "plain") == Lock(
        recipe=LockedRecipe(sha256=recipe_digest(slice_recipe(RECIPE, "plain"))),
        sources=VALUE.sources,
        targets={"plain": LockedTarget()},
    )


def test_differences_are_told_field_by_field():
    old = {"a": 1, "b": "x", "c": True}
    new = {"a": 2, "b": "x", "d": ["y"]}
    assert differences(old, new) == ["a: 1 → 2", "c: removed, was True", "d: added, ['y']"]


def test_no_differences_are_no_lines():
    assert differences({"a": 1}, {"a": 1}) == []
