"""Options of a quantizer that decide bits: they reach its fingerprint, and stand in the lock."""

from __future__ import annotations

import textwrap
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sites import lftool_of

from lftool.pipeline.uses import Use, parse_use
from lftool.testing import tiny_gguf

PLUGIN = """
from pathlib import Path
from attrs import field, frozen

@frozen(kw_only=True)
class Options:
    need: int
    rounds: int = field(default=1, metadata={"bits": True})
    note: str = ""

class Copy:
    def tool(self):
        return ToolIdentity(version="1", files=(Path(__file__),))
    def probe_inputs(self, use, folder):
        assert use == "COPY", use
        (folder / "fixed").write_bytes(b"fixed")
        return {"weights": folder / "fixed"}
    def plan(self, spec, inputs):
        with inputs["weights"].path.open("rb") as file:
            header = read_gguf(file, None, "weights")
        kinds = tuple(TensorType(tensor=t.name, type=t.type.name) for t in header.tensors)
        return TransformPlan(parameters={"need": spec.options.need}, tensors=kinds)
    def run(self, spec, inputs, output, threads, progress):
        data = inputs["weights"].path.read_bytes()
        output.write_bytes(data + f"{spec.options.need} {spec.options.rounds}".encode() if data == b"fixed" else data)

@hookimpl
def lftool_quantizers():
    yield QuantizerType(
        name="copy", summary="", consumes=("gguf",), produces=("COPY",), semantics="copy/1", options=Options, factory=Copy
    )
"""
RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.copy]
quantize = "COPY"
layout = "gguf"
options = {{ {options} }}
"""


@pytest.fixture
def lock(site, interpreter, project):
    """Lock a recipe with some options, and return the lock."""
    site.install("demo-shop", textwrap.dedent(PLUGIN), entry="shop")
    tiny_gguf(project.root / "model.gguf", width=32)

    def run(options: str) -> dict:
        project.write_recipe(RECIPE.format(options=options))
        lftool_of(interpreter, project, "lock", env={}).assert_success()
        return tomllib.loads(project.lock.read_text())

    return run


def test_a_quantizer_with_a_required_option_locks_and_builds(lock, interpreter, project):
    made = lock("need = 3")
    assert made["targets"]["copy"]["quantize"]["uses"] == "COPY+need=3"
    lftool_of(interpreter, project, "build", env={}).assert_success()
    lftool_of(interpreter, project, "build", "--locked", env={}).assert_success()
    assert lftool_of(interpreter, project, "lock", "--check", env={}).status == 0


def test_options_that_decide_bits_have_fingerprints_of_their_own(lock):
    prints = {}
    for options in ("need = 3", "need = 4", "need = 4, rounds = 2", "need = 4, note = 'x'"):
        made = lock(options)
        use = made["targets"]["copy"]["quantize"]["uses"]
        prints[use] = made["tools"]["copy/1"]["fingerprints"][use]
    assert sorted(prints) == ["COPY+need=3", "COPY+need=4", "COPY+need=4+rounds=2"]
    assert len(set(prints.values())) == 3


def test_a_lock_of_other_options_is_stale(lock, interpreter, project):
    lock("need = 3")
    project.write_recipe(RECIPE.format(options="need = 4"))
    checked = lftool_of(interpreter, project, "lock", "--check", env={})
    assert checked.status == 3


@given(
    produces=st.from_regex(r"[A-Z0-9_]+", fullmatch=True),
    imatrix=st.booleans(),
    options=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_-]*", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"]))
        | st.integers(-(2**40), 2**40)
        | st.booleans()
        | st.lists(st.integers(0, 9)),
        max_size=3,
    ),
)
def test_a_use_is_what_its_text_says(produces, imatrix, options):
    use = Use(produces=produces, imatrix=imatrix, options=options)
    assert parse_use(str(use)) == use


@pytest.mark.parametrize("text", ["", "+", "A+b", "A+b=", "A+b={", "A+=1", "A+imatrix=1"])
def test_what_is_no_use_that_we_write_is_read_without_failing(text):
    assert parse_use(text).produces == text.partition("+")[0]
