"""What `[run]` may say of a model, a runtime and an engine is known before anything is built or started."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lftool.testing import tiny_gguf

STORY = Path(__file__).parents[2] / "examples" / "tiny-story" / "tiny-story-f16.gguf"
GRAMMAR = "grammar = '''\nroot ::= answer\nanswer ::= [a-z]+ # a comment\n'''\n"
RECIPE = """\
[bundle]
name = "m"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.t]
layout = "{layout}"
{runtime}
[run]
{run}
"""


def write(project, run: str, layout: str = "gguf", runtime: str = "") -> None:
    project.write_recipe(RECIPE.format(run=run, layout=layout, runtime=runtime))


@pytest.fixture
def story(project):
    shutil.copy(STORY, project.root / "model.gguf")
    return project


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (
            'stop_tokens = ["▁girl", "▁gril"]',
            "error: run.stop_tokens: the vocabulary has no token '▁gril'\n  hint: it has ",
        ),
        (
            'stop_tokens = [" girl"]',
            "error: run.stop_tokens: the vocabulary has no token ' girl'\n  hint: it has '▁girl'\n",
        ),
        ("grammar = 'root ::= <think> .*'", "error: run.grammar: the vocabulary has no token <think>\n"),
        ("grammar = 'root ::= <[99999]>'", "error: run.grammar: the vocabulary has no token <[99999]>\n"),
        (
            'grammar = \'root ::= "a" </s> "b"\'',
            "error: run.grammar: the token </s> ends an answer; a grammar's end is where it may come\n",
        ),
        ('stop_tokens = ["<|im_end|>"]', "error: run.stop_tokens: the vocabulary has no token '<|im_end|>'"),
    ],
)
def test_a_stop_token_must_be_in_the_vocabulary(story, run, told):
    write(story, run)
    done = story.run("lock")
    assert (done.status, done.err.startswith(told)) == (2, True), done.err


def test_weights_without_a_vocabulary_have_no_stop_tokens(project):
    tiny_gguf(project.root / "model.gguf")
    write(project, 'stop_tokens = ["a"]')
    done = project.run("lock")
    assert (done.status, done.err) == (2, "error: run.stop_tokens: the weights have no list of tokens\n")


def test_a_cache_type_must_fit_the_heads(project):
    tiny_gguf(project.root / "model.gguf", width=16)
    write(project, 'cache_type = "q8_0"')
    done = project.run("lock")
    assert done.status == 2
    assert done.err == (
        "error: run.cache_type: q8_0 has blocks of 32 elements, and the keys of this model have 4 a head\n"
        '  hint: one that fits every model: "f16", "bf16" or "f32"\n'
    )
    write(project, 'cache_type = "bf16"')
    project.run("lock").assert_success()


def test_a_template_that_does_not_read_whether_to_think_is_told(story):
    write(story, 'reasoning = "off"')
    done = story.run("lock").assert_success()
    assert "warning  run.reasoning: the chat template does not read enable_thinking" in done.err
    (story.root / "chat.jinja").write_text("{% if enable_thinking %}think: {% endif %}{{ messages[-1].content }}")
    recipe = story.recipe.read_text()
    story.write_recipe(recipe.replace('weights = "base"\n', 'weights = "base"\ntemplate = "chat.jinja"\n'))
    assert "run.reasoning" not in story.run("lock").assert_success().err


def test_what_is_wrong_with_a_grammar_is_told_with_its_line(story):
    write(story, "grammar = '''\nroot ::= answer\nanswer ::= \"yes\n'''")
    done = story.run("lock")
    assert done.status == 2
    assert 'lftool.toml: $.run.grammar: line 2 of the grammar: " is not closed by "' in done.err


def test_a_preset_has_what_answers_follow(story):
    run = 'json_schema = \'{}\'\ncache_type = "q8_0"\nreasoning = "off"\n'
    run += 'rope_scaling = "yarn"\nrope_scale = 4\nyarn_original_context = 64\nstop_tokens = ["."]\nstop = ["x"]\n'
    write(story, run)
    story.run("lock").assert_success()
    story.run("build").assert_success()
    done = story.run("export", "preset", "dist/m-1-t.gguf", "--path", "/m.gguf").assert_success()
    assert done.out.splitlines()[4:] == [
        "reasoning = off",
        "cache-type-k = q8_0",
        "cache-type-v = q8_0",
        "rope-scaling = yarn",
        "rope-scale = 4",
        "yarn-orig-ctx = 64",
    ]
    assert "llama-server has no argument for strings that end an answer and tokens that end an answer" in done.err
    assert "llama-server does not hold chats to the schema of --json-schema: clients have to send it" in done.err
    write(story, 'grammar = \'root ::= "yes" | "no"\'\n')
    story.run("lock").assert_success()
    story.run("build").assert_success()
    done = story.run("export", "preset", "dist/m-1-t.gguf", "--path", "/m.gguf").assert_success()
    assert done.out.splitlines()[4:] == ['grammar = root ::= "yes" | "no"']
    write(story, "grammar = '''\nroot ::= a\na ::= [a-z]\n'''\n")
    story.run("lock").assert_success()
    story.run("build").assert_success()
    done = story.run("export", "preset", "dist/m-1-t.gguf", "--path", "/m.gguf").assert_success()
    assert done.out.splitlines()[4:] == []
    assert "a preset cannot hold a grammar of several lines, or with # or ;: clients have to send it" in done.err
    assert story.run("export", "preset", "dist/m-1-t.gguf", "--path", "/a;b.gguf").status == 2


def test_inspect_shows_it_on_one_line(story):
    write(story, GRAMMAR + 'stop_tokens = ["."]\nrope_freq_base = 1e6\n')
    story.run("lock").assert_success()
    story.run("build").assert_success()
    (line,) = [
        line for line in story.run("inspect", "dist/m-1-t.gguf").assert_success().out.splitlines() if "  run " in line
    ]
    assert line == (
        r"  run        grammar 'root ::= answer\nanswer ::= [a-z]+ # a comment\n'; stop_tokens ['.']; rope_freq_base 1000000"
    )
