"""How llama-cpp-python chats with a model: by its template, by the name of one of llama.cpp's, or not at all."""

from __future__ import annotations

import shutil

import pytest
from tests.chat_models import give_template
from tests.known_tools import give

from lftool.ops.run.served_model import Question, served
from lftool.store.store import Store
from lftool.testing import ProjectFolder

RECIPE = """\
[bundle]
name = "story"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
[run]
context = 256
temperature = 0
max_tokens = 12
"""
BUNDLE = "dist/story-1-plain.gguf"
PROMPT = "Once upon a time"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BROKEN = "{% for m in messages %}{{ m['content'] }}"


@pytest.fixture
def with_template(tmp_path, repository, known_tools):
    """Return a project whose model has a template: with_template(text or None)."""
    count = 0

    def make(text: str | None) -> ProjectFolder:
        nonlocal count
        count += 1
        project = ProjectFolder(root=tmp_path / f"project{count}", home=tmp_path / "home")
        project.root.mkdir()
        give(known_tools, project.home)
        shutil.copy(repository / "examples" / "tiny-story" / "tiny-story-f16.gguf", project.root / "model.gguf")
        give_template(project.root / "model.gguf", text)
        project.write_recipe(RECIPE)
        project.run("lock").assert_success()
        project.run("build").assert_success()
        return project

    return make


def answer(project: ProjectFolder, *more: str) -> str:
    return project.spawn("run", BUNDLE, "-p", PROMPT, *more).assert_success().out


def chat(project: ProjectFolder, monkeypatch) -> str:
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    with served(project.root / BUNDLE, Store(project.cache), None) as model:
        return model.ask(Question(prompt=PROMPT)).strip()


def test_a_name_of_a_template_is_that_template(with_template, monkeypatch):
    named, written = with_template("chatml"), with_template(CHATML)
    assert answer(named) == answer(written)
    assert chat(named, monkeypatch) == chat(written, monkeypatch)


def test_without_a_template_a_text_is_completed_as_it_is(with_template, monkeypatch):
    project = with_template(None)
    completed = answer(project, "--raw")
    assert answer(project) == completed
    assert chat(project, monkeypatch) == completed.strip()
    assert (
        project.spawn("run", BUNDLE, "-p", PROMPT).err.count(
            "this model has no chat template: it continues the text as"
        )
        == 1
    )


def test_without_a_template_a_system_prompt_comes_first(with_template, monkeypatch):
    project = with_template(None)
    completed = project.spawn("run", BUNDLE, "--raw", "-p", f"A story.\n{PROMPT}").assert_success().out
    project.write_recipe(f'{RECIPE}system = "A story."\n')
    project.run("lock").assert_success()
    project.run("build").assert_success()
    assert answer(project) == completed
    assert chat(project, monkeypatch) == completed.strip()


def test_a_check_says_that_there_is_no_template(with_template):
    project = with_template(None)
    check = f'[[checks]]\nkind = "regex"\nprompt = "{PROMPT}"\nmatches = "there was"\n'
    project.write_recipe(RECIPE + check)
    project.run("lock").assert_success()
    out = project.spawn("check", BUNDLE).assert_success().out
    assert out.splitlines()[0].endswith("; no chat template: it continues the text as it is)")


@pytest.mark.slow_cases(r"a name that")
@pytest.mark.parametrize(
    ("template", "said"),
    [
        (BROKEN, "the chat template does not compile"),
        ("no-such-name", "'no-such-name': neither a template, nor a name that llama.cpp knows"),
    ],
    ids=["one that does not compile", "a name that nobody knows"],
)
def test_one_that_cannot_be_used_is_named_and_raw_works_without_it(with_template, template, said):
    project = with_template(template)
    done = project.spawn("run", BUNDLE, "-p", PROMPT)
    assert (done.status, done.out) == (1, "")
    assert said in done.err
    assert answer(project, "--raw") == answer(with_template(None))
