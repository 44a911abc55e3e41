"""Chat templates that loop, grow or call themselves, in each server and in the chat: an error in bounded time, and the next request is answered."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from tests.chat_models import give_template
from tests.hostile.test_chat_templates import CALLS_ITSELF, GROWS, LOOPS
from tests.native.conftest import NAME, PROMPT, RECIPE, make_project, start
from tests.native.test_serving import KINDS, XLLAMACPP, serving

if TYPE_CHECKING:
    from pathlib import Path

# What it does depends on what is said, so that one server meets all.
HOSTILE = (
    "{% set said = messages[-1]['content'] %}"
    "{% if said == 'loops' %}"
    + LOOPS
    + "{% elif said == 'grows' %}"
    + GROWS
    + "{% elif said == 'calls itself' %}"
    + CALLS_ITSELF
    + "{% elif said == 'keeps much' %}{{ range(2000000)|list|length }}{% endif %}"
    "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
)


def make(base: Path, text: str) -> Path:
    """A project whose model has a chat template."""
    project = make_project(base, RECIPE)
    give_template(project.root / "tiny-story-f16.gguf", text)
    project.spawn("lock").assert_success()
    project.spawn("build").assert_success()
    return project


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return make(tmp_path_factory.mktemp("hostile"), HOSTILE)


def bundle_of(project, kind: str) -> Path:
    name = {KINDS[2]: ("python", "llamafile"), XLLAMACPP: ("gguf", "gguf")}.get(kind, ("native", "llamafile"))
    return project.root / "dist" / NAME.format(*name)


@pytest.fixture(scope="module", params=[*KINDS, XLLAMACPP])
def server(request, hostile, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log"
    with serving(request.param, hostile, bundle_of(hostile, request.param), log=log) as made:
        yield made


def chat(server, text: str) -> int:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 2}
    return server.post("/v1/chat/completions", json=body, timeout=60).status_code


# As above.
@pytest.mark.slow_cases(
    r"\[(lftool serve, (native-(grows|loops)|llama-cpp-python-grows|xllamacpp-(grows|loops))|by itself-grows)"
)
@pytest.mark.parametrize("said", ["loops", "grows", "calls itself"])
def test_a_server_gives_it_up_and_goes_on(server, said):
    begun = time.monotonic()
    assert chat(server, said) in range(400, 600)
    assert time.monotonic() - begun < 30
    assert chat(server, PROMPT) == 200


# As above.
@pytest.mark.slow_cases(r"\[grows")
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("loops", "takes"),
        ("grows", "takes"),
        ("calls itself", "calls itself too deeply"),
        ("keeps much", "(makes too many values|takes)"),  # on a busy machine its time is up first
    ],
)
def test_the_native_chat_gives_it_up(hostile, said, why):
    done = start(bundle_of(hostile, KINDS[0]), "-p", said)
    assert done.returncode == 1
    assert re.search(f"the chat template {why}", done.stderr)


# As above.
@pytest.mark.slow_cases(r"\[grows")
@pytest.mark.parametrize("said", ["loops", "grows", "calls itself"])
def test_lftool_run_with_llama_cpp_python_gives_it_up(hostile, said):
    environment = {"XDG_CACHE_HOME": str(hostile.home / "python-cache")}
    done = hostile.spawn("run", bundle_of(hostile, KINDS[2]), "-p", said, env=environment)
    assert done.status == 1, done


@pytest.mark.slow_cases(r"\[(grows|loops)")
@pytest.mark.parametrize("said", ["loops", "grows", "calls itself"])
def test_lftool_run_with_xllamacpp_gives_it_up(hostile, said):
    done = hostile.spawn("run", "--engine", "xllamacpp", bundle_of(hostile, XLLAMACPP), "-p", said)
    assert done.status == 1, done


# Each takes the whole budget of 5 s, a few times.
@pytest.mark.slow_cases(r"\[(grows|large|loops)")
@pytest.mark.parametrize(
    "text", [LOOPS, GROWS, CALLS_ITSELF, "x" * (1024 * 1024 + 1)], ids=["loops", "grows", "calls itself", "large"]
)
def test_one_that_does_it_always_keeps_no_start_for_ever(tmp_path, text):
    project = make(tmp_path, text)
    begun = time.monotonic()
    done = start(bundle_of(project, KINDS[0]), "-p", PROMPT)
    assert (done.returncode, "chat template" in done.stderr) == (1, True), done.stderr
    assert time.monotonic() - begun < 60
