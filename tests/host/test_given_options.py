"""Options reach every record that offers them, and mistakes in them are named with their path."""

from __future__ import annotations

import json
import tomllib

import pytest

from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "m"
version = "1"
[sources.base]
uri = "file:{source}"
[model]
weights = "base"
[targets.t]
layout = "{layout}"
"""

LAYOUT = """
from attrs import frozen

@frozen(kw_only=True)
class Options:
    companions: bool = True
    order: str

class Own:
    def plan(self, inputs):
        if inputs.options.order != "up":
            raise RecipeError(f"no order {inputs.options.order}")
        return LayoutPlan(prefix=PlannedPrefix(role="gguf", artifact=inputs.weights))

@hookimpl
def lftool_layouts():
    yield LayoutType(name="own", summary="mine", suffix=".own", media_type="x/y", options=Options, factory=Own)
"""

CONVERTER = """
import json, struct
from pathlib import Path
from attrs import field, frozen

@frozen(kw_only=True)
class Options:
    scale: int = field(default=1, metadata={"bits": True})

class Numbers:
    def tool(self):
        return ToolIdentity(version="1", files=(Path(__file__),))
    def probe_inputs(self, use, folder):
        path = folder / "m.num"
        path.write_text("[1.5]")
        return {"m.num": path}
    def plan(self, spec, inputs):
        return TransformPlan(parameters={}, tensors=(TensorType(tensor="a", type="F32"),))
    def run(self, spec, inputs, output, threads, progress):
        values = [v * spec.options.scale for p, i in inputs.items() if p.endswith(".num") for v in json.loads(i.path.read_text())]
        data = struct.pack(f"<{len(values)}f", *values)
        with output.open("wb") as file:
            write_gguf(
                file,
                {"general.architecture": "x", "general.name": ",".join(sorted(inputs))},
                [TensorData(name="a", dimensions=(len(values),), type="F32", data=data)],
            )

@hookimpl
def lftool_converters():
    yield ConverterType(
        name="num", summary="numbers", consumes=("num",), produces=("source",), semantics="num/1", options=Options,
        recognises=("*.num",), beside=("*.hint",), factory=Numbers,
    )
"""


def test_a_layout_gets_its_options_and_they_decide_the_pack_action(site, lftool, project):
    site.install("own", LAYOUT)
    tiny_gguf(project.root / "m.gguf", width=32)
    text = RECIPE.format(source="m.gguf", layout="own")
    project.write_recipe(text + 'layout_options = { order = "up" }\n')
    lftool("lock").assert_success()
    lftool("build").assert_success()
    first = project.lock.read_text()

    project.write_recipe(text + 'layout_options = { order = "up", companions = false }\n')
    assert lftool("lock", "--check").status == 3
    lftool("lock").assert_success()

    actions = [line for line in first.splitlines() if line.startswith("action")]
    assert actions != [line for line in project.lock.read_text().splitlines() if line.startswith("action")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "$.order: missing"),
        ('layout_options = { order = "up", odrer = 1 }', "$.odrer: unknown key; did you mean 'order'?"),
        ("layout_options = { order = 1 }", "$.order: expected a string, got an integer"),
    ],
)
def test_wrong_options_of_a_layout_are_found_when_locking(site, lftool, project, options, said):
    site.install("own", LAYOUT)
    tiny_gguf(project.root / "m.gguf", width=32)
    project.write_recipe(RECIPE.format(source="m.gguf", layout="own") + options + "\n")
    done = lftool("lock")
    assert (done.status, f"error: lftool.toml: $.targets.t.layout_options{said[1:]}" in done.err) == (2, True), done


def test_a_layout_without_options_takes_none(plain_project):
    recipe = plain_project.recipe.read_text()
    plain_project.write_recipe(recipe + 'layout_options = { order = "up" }\n')
    done = plain_project.run("lock")
    assert done.status == 2
    assert "$.targets.plain.layout_options: the layout 'gguf' has no options" in done.err


def test_a_plugin_brings_a_format_of_its_own(site, lftool, project):
    site.install("own", CONVERTER)
    folder = project.root / "model"
    folder.mkdir()
    (folder / "w.num").write_text("[1.5, 2.0]")
    (folder / "w.hint").write_text("read me")
    (folder / "other.txt").write_text("not me")
    project.write_recipe(RECIPE.format(source="model", layout="gguf") + "[model.options.weights]\nscale = 3\n")
    lftool("lock", LFTOOL_LOAD="0").assert_success()
    lock = project.lock.read_text()
    assert tomllib.loads(lock)["convert"]["weights"].items() >= {"format": "num", "files": ["w.hint", "w.num"]}.items()
    assert 'uses = "source+scale=3"' in lock
    assert project.run("lock", "--check").status == 0  # without the plugin

    lftool("build").assert_success()

    shown = project.run("inspect", project.root / "dist" / "m-1-t.gguf", "--json").assert_success().json()
    assert json.dumps(shown).count("w.hint,w.num") >= 1


def test_a_source_with_both_is_the_format_that_lftool_knows(site, lftool, project):
    site.install("own", CONVERTER)
    folder = project.root / "model"
    folder.mkdir()
    (folder / "w.num").write_text("[1.5]")
    tiny_gguf(folder / "m.gguf", width=32)
    project.write_recipe(RECIPE.format(source="model", layout="gguf"))
    lftool("lock", LFTOOL_LOAD="0").assert_success()
    assert "[convert" not in project.lock.read_text()


def test_a_pickle_stays_refused_whatever_recognises_it(site, lftool, project):
    site.install("own", CONVERTER.replace('"*.num"', '"*.pt"'))
    folder = project.root / "model"
    folder.mkdir()
    (folder / "w.pt").write_bytes(b"x")
    project.write_recipe(RECIPE.format(source="model", layout="gguf"))
    done = lftool("lock")
    assert done.status == 4
    assert "pickle checkpoint" in done.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('recognises=("*.num",), ', ""), "'num' is a format of its own: list its files in `recognises`"),
        (('consumes=("num",)', 'consumes=("gguf-split",)'), "it recognises one format of its own, not gguf-split"),
        (('consumes=("num",)', 'consumes=("num", "mun")'), "it recognises one format of its own, not num, mun"),
    ],
)
def test_a_converter_that_says_half_of_it_is_a_failed_plugin(site, lftool, change, said):
    site.install("own", CONVERTER.replace(*change))
    assert said in lftool.listed()["own"]["reason"]


def test_options_for_a_role_that_nothing_converts_are_refused(plain_project):
    plain_project.write_recipe(plain_project.recipe.read_text() + "[model.options.weights]\nscale = 3\n")
    done = plain_project.run("lock")
    assert done.status == 2
    assert "model.options.weights: nothing is converted for weights" in done.err


def test_options_for_what_is_no_role_are_refused(plain_project):
    plain_project.write_recipe(plain_project.recipe.read_text() + "[model.options.imatrix]\nscale = 3\n")
    done = plain_project.run("lock")
    assert (done.status, "'imatrix' is not a role" in done.err) == (2, True)


OBSERVER = """
from attrs import frozen
from pathlib import Path

@frozen(kw_only=True)
class Options:
    path: str = ""

def make(options):
    def see(event):
        with Path(options.path).open("a") as file:
            file.write(type(event).__name__ + "\\n")
    return see

@hookimpl
def lftool_observers():
    yield ObserverType(name="own", summary="mine", options=Options, factory=make)
"""


def test_an_observer_gets_the_options_of_the_users_configuration(site, lftool, plain_project, tmp_path):
    site.install("own", OBSERVER)
    plain_project.write_configuration(f'[observers.own]\npath = "{tmp_path / "seen"}"\n')
    lftool("lock").assert_success()
    lftool("build").assert_success()
    assert "StageFinished" in (tmp_path / "seen").read_text()


def test_an_observer_without_such_an_option_ends_the_command(site, lftool, plain_project):
    site.install("own", OBSERVER)
    plain_project.write_configuration("[observers.own]\npaht = 1\n")
    done = lftool("lock")
    assert done.status == 2
    assert "config.toml: $.observers.own.paht: unknown key; did you mean 'path'?" in done.err


BACKEND = """
from attrs import frozen

@frozen(kw_only=True)
class Options:
    beads: int = 10

class Own:
    def __init__(self, options):
        self.beads = options.beads
    def probe(self):
        return Probe(available=False, reason=f"{self.beads} beads are not enough")

@hookimpl
def lftool_backends():
    yield BackendType(name="own", summary="mine", options=Options, factory=Own)
"""


def test_a_backend_gets_the_options_of_the_users_configuration_in_its_own_process(site, lftool, project):
    site.install("own", BACKEND)
    assert (
        "own      unavailable: 10 beads" in " ".join(lftool("backends").out.split("  "))
        or "10 beads" in lftool("backends").out
    )
    project.write_configuration("[backends.own]\nbeads = 3\n")
    assert "3 beads are not enough" in lftool("backends").out
    project.write_configuration("[backends.own]\nbeads = true\n")
    assert "config.toml: $.backends.own.beads: expected an integer" in lftool("backends").out


SIGNER = """
from attrs import frozen

@frozen(kw_only=True)
class Options:
    level: int

class Own:
    def __init__(self, context):
        raise TrustError(f"level {context.options.level} of {context.rest}")

@hookimpl
def lftool_signers():
    yield SignerType(name="own", summary="mine", schemes=("own",), options=Options, factory=Own)
"""


def test_a_signer_gets_the_options_of_the_recipe(site, lftool, plain_project):
    site.install("own", SIGNER)
    recipe = plain_project.recipe.read_text()
    plain_project.write_recipe(recipe + '[sign]\nkey = "own:k"\noptions = { level = 3 }\n')
    lftool("lock").assert_success()
    assert "level 3 of k" in lftool("build").err
    plain_project.write_recipe(recipe + '[sign]\nkey = "own:k"\n')
    done = lftool("build")
    assert (done.status, "lftool.toml: $.sign.options.level: missing" in done.err) == (2, True)
