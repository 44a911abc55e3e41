"""How the native runtime chats with a model: by the name of a template, and without one; as llama-cpp-python does."""

from __future__ import annotations

import pytest
from tests.chat_models import give_template
from tests.functional.test_chat_templates import CHATML, PROMPT
from tests.native.conftest import NAME, RECIPE, make_project, start
from tests.native.test_serving import KINDS, serving

NATIVE = NAME.format("native", "llamafile")


@pytest.fixture(scope="module")
def with_template(tmp_path_factory):
    """Return a bundle whose model has a template: with_template(text or None, system prompt); each is made once."""
    made = {}

    def make(text: str | None, system: str = ""):
        if (text, system) not in made:
            recipe = RECIPE.replace("max_tokens = 160", "max_tokens = 12").partition("[targets.python]")
            project = make_project(
                tmp_path_factory.mktemp("chat"),
                recipe[0] + "[run]" + recipe[2].partition("[run]")[2] + (f'system = "{system}"\n' if system else ""),
            )
            give_template(project.root / "tiny-story-f16.gguf", text)
            project.run("lock").assert_success()
            project.run("build").assert_success()
            made[text, system] = project
        return made[text, system]

    return make


def answer(project, *more: str, prompt: str = PROMPT) -> str:
    done = start(project.root / "dist" / NATIVE, "-p", prompt, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def chat(project, log) -> str:
    with serving(KINDS[0], project, project.root / "dist" / NATIVE, log=log) as server:
        body = {"messages": [{"role": "user", "content": PROMPT}], "cache_prompt": False}
        answer = server.post("/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"].strip()


def test_a_name_of_a_template_is_that_template(with_template, tmp_path):
    named, written = with_template("chatml"), with_template(CHATML)
    assert answer(named) == answer(written)
    assert chat(named, tmp_path / "named") == chat(written, tmp_path / "written")


def test_a_name_that_is_no_jinja_of_upstream_hears_the_question(with_template, tmp_path):
    """`rwkv-world` was rendered as those letters, whatever was asked."""
    project = with_template("rwkv-world")
    with serving(KINDS[0], project, project.root / "dist" / NATIVE, log=tmp_path / "log") as server:
        rendered = server.post("/apply-template", json={"messages": [{"role": "user", "content": PROMPT}]}).json()
    assert PROMPT in rendered["prompt"]
    assert chat(project, tmp_path / "other") == answer(project)


def test_without_a_template_a_text_is_completed_as_it_is(with_template, tmp_path):
    project = with_template(None)
    completed = answer(project, "--raw")
    assert answer(project) == completed
    assert chat(project, tmp_path / "log") == completed
    said = "this model has no chat template: it continues the text as it is"
    assert said in (tmp_path / "log").read_text()
    assert said in start(project.root / "dist" / NATIVE, "-p", PROMPT).stderr


def test_without_a_template_a_system_prompt_comes_first(with_template, tmp_path):
    completed = answer(with_template(None), "--raw", prompt=f"A story.\n{PROMPT}")
    project = with_template(None, "A story.")
    assert answer(project) == completed
    assert chat(project, tmp_path / "log") == completed


def test_a_name_that_nobody_knows_is_an_error(with_template):
    done = start(with_template("no-such-name").root / "dist" / NATIVE, "-p", PROMPT)
    assert (done.returncode, done.stdout) == (1, "")
    assert answer(with_template("no-such-name"), "--raw")
