"""Each runtime and engine of ours applies every key of the run contract, alike: by itself, and served."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from tests.native.conftest import make_project, start
from tests.native.test_serving import KINDS, XLLAMACPP, serving

PROMPT = "Once upon a time"
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
RECIPE = """\
[bundle]
name = "{name}"
version = "1"
[sources.base]
uri = "file:tiny-story-f16.gguf"
[model]
weights = "base"
[targets.native]
layout = "llamafile"
runtime = "native"
[targets.python]
layout = "llamafile"
[targets.gguf]
layout = "gguf"
[run]
context = 256
temperature = 0.0
max_tokens = 18
{run}
"""
CASES = {
    "plain": "",
    "grammar": "grammar = '''\nroot ::= answer \".\"\nanswer ::= \"yes\" | \"no\" # and nothing else\n'''\n",
    "schema": f"json_schema = '{json.dumps(SCHEMA)}'\n",
    "tokens": 'stop_tokens = [".", "▁girl"]\n',
    "cache": 'cache_type = "bf16"\n',
    "small": 'cache_type = "q8_0"\n',
    "yarn": 'rope_scaling = "yarn"\nrope_scale = 4\nyarn_original_context = 64\n',
    "linear": 'rope_scaling = "linear"\nrope_scale = 2\n',
    "base": "rope_freq_base = 500000\n",
}
THINKING = (
    "{% if enable_thinking is defined %}{{ 'Anna had a cat. ' if enable_thinking else 'Max had a dog. ' }}{% endif %}"
    "{% for m in messages %}{{ m.content }}{% endfor %}"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("applied"), RECIPE.format(name="plain", run=""))


@pytest.fixture(scope="module")
def built(project):
    """Return a function that builds what a case says, once, and tells where the bundle of a target is."""
    done: set[str] = set()

    def make(name: str, target: str, run: str | None = None, model: str = ""):
        if name not in done:
            recipe = RECIPE.format(name=name, run=CASES[name] if run is None else run)
            project.write_recipe(recipe.replace('weights = "base"\n', f'weights = "base"\n{model}'))
            project.run("lock").assert_success()
            project.run("build", "--no-sign").assert_success()
            done.add(name)
        suffix = "gguf" if target == "gguf" else "llamafile"
        return project.root / "dist" / f"{name}-1-{target}.{suffix}"

    return make


def answers(project, built, name: str, *options: str, **more) -> set[str]:
    """What a case answers: by its own executable, by Python, and by each engine."""
    engines = (
        ("gguf", "--engine", "llama-cpp-python"),
        ("gguf", "--engine", "xllamacpp"),
        ("python", "--engine", "native"),
    )
    said = set()
    for target, *engine in engines:
        done = project.spawn("run", *engine, built(name, target, **more), "-p", PROMPT, *options)
        said.add(done.assert_success().out)
    done = start(built(name, "native", **more), "-p", PROMPT, *options)
    assert done.returncode == 0, done.stderr
    return said | {done.stdout}


@pytest.mark.parametrize("name", [name for name in CASES if name != "schema"])
def test_every_engine_gives_the_same_answer(project, built, name):
    (said,) = answers(project, built, name)
    changed = {"grammar", "tokens", "yarn", "linear", "base"}
    (plain,) = answers(project, built, "plain") if name in changed else (said,)
    assert (said != plain) == (name in changed)
    if name == "grammar":
        assert said in {"yes.\n", "no.\n"}
    if name == "tokens":
        assert said == plain[: min(plain.index("."), plain.index(" girl"))].rstrip(" ") + "\n"


def test_an_answer_follows_the_schema(project, built):
    for said in answers(project, built, "schema", "--max-tokens", "120"):  # they differ in spaces
        jsonschema.validate(json.loads(said), SCHEMA)


@pytest.mark.parametrize(("engine", "says"), [("llama-cpp-python", "leaves out"), ("xllamacpp", "no rules for")])
def test_a_schema_that_an_engine_would_not_follow_is_an_error(project, built, engine, says):
    run = """json_schema = '{"properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]}'"""
    done = project.spawn("run", "--engine", engine, built("bounded", "gguf", run), "-p", PROMPT)
    assert (done.status, done.out) == (1, "")
    assert re.search(rf"hold an(swers| answer) to \[run\] json_schema: .*{says} the keyword minimum", done.err)


def test_whether_a_model_thinks_is_told_to_its_template(project, built):
    (project.root / "chat.jinja").write_text(THINKING)
    given = {"run": 'reasoning = "on"\n', "model": 'template = "chat.jinja"\n'}

    def animals(name: str, *options: str) -> set[str]:
        said = answers(project, built, name, *options, **given)
        return {animal for text in said for animal in ("cat", "dog") if animal in text}

    assert animals("thinks") == {"cat"}
    assert animals("thinks", "--no-think") == {"dog"}
    given["run"] = 'reasoning = "off"\n'
    assert animals("answers") == {"dog"}
    assert animals("answers", "--think") == {"cat"}


def test_a_key_that_a_runtime_does_not_know_is_an_error(project, built):
    path = project.root / "unknown.llamafile"
    for target in ("native", "python"):
        data = built("grammar", target).read_bytes()
        # of the same length, so that nothing else changes
        path.write_bytes(data.replace(b'"run":{"context":256,"grammar"', b'"run":{"context":256,"grammaz"'))
        path.chmod(0o755)
        python = {"PATH": "/usr/bin:/bin", "LFTOOL_PYTHON": project.environment.get("LFTOOL_PYTHON", "python3")}
        done = start(path, "-p", PROMPT, env=python)
        assert done.returncode == 8
        assert re.search(r"its run contract says ['\"]grammaz['\"], which this", done.stderr)


@pytest.fixture(scope="module", params=[*KINDS, XLLAMACPP])
def kind(request) -> str:
    return request.param


def served_target(kind: str) -> str:
    return {KINDS[0]: "native", KINDS[1]: "native", KINDS[2]: "python", XLLAMACPP: "gguf"}[kind]


def chat(server, text: str = "Is it?", **more) -> str:
    client = server.client()
    made = client.chat.completions.create(model="any", messages=[{"role": "user", "content": text}], **more)
    return made.choices[0].message.content


def test_a_server_holds_answers_to_the_grammar_unless_the_request_says_more(project, built, kind, tmp_path):
    with serving(kind, project, built("grammar", served_target(kind)), log=tmp_path / "log") as server:
        assert chat(server) in {"yes.", "no."}
        completed = server.client().completions.create(model="any", prompt=PROMPT)
        assert completed.choices[0].text in {"yes.", "no."}
        free = chat(server, PROMPT, response_format={"type": "text"})
        assert free not in {"yes.", "no."}
        own = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA}}
        jsonschema.validate(json.loads(chat(server, response_format=own, max_tokens=120)), SCHEMA)


def test_a_server_holds_answers_to_the_schema(project, built, kind, tmp_path):
    with serving(kind, project, built("schema", served_target(kind)), log=tmp_path / "log") as server:
        jsonschema.validate(json.loads(chat(server, max_tokens=120)), SCHEMA)
        completed = server.client().completions.create(model="any", prompt=PROMPT, max_tokens=120)
        jsonschema.validate(json.loads(completed.choices[0].text), SCHEMA)


def test_a_server_ends_answers_at_the_tokens(project, built, kind, tmp_path):
    with serving(kind, project, built("tokens", served_target(kind)), log=tmp_path / "log") as server:
        done = server.client().completions.create(model="any", prompt=PROMPT)
        assert done.choices[0].finish_reason == "stop"
        assert not {".", "girl"} & set(done.choices[0].text.replace(".", " . ").split())
        assert done.choices[0].text.strip()
