"""A chat template comes with the model: whatever it does, it is given up in bounded time, memory and stack, and the server goes on."""

from __future__ import annotations

import sys
import time

import llama_cpp
import pytest

from lftool.builtin.python_runtime import runner

HONEST = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
LOOPS = (
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}"
)
GROWS = "{% set n = namespace(x='xxxxxxxx') %}{% for i in range(64) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
CALLS_ITSELF = "{% macro deeper() %}{{ deeper() }}{% endmacro %}{{ deeper() }}"
POWERS = "{{ messages|length * 10 ** (10 ** 10) }}"
SQUARES = "{% set n = namespace(x=9) %}{% for i in range(64) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}"
REPEATS = "{{ 'x' * (messages|length * 10 ** 10) }}"
PYTHON = {
    "loops": LOOPS,
    "loops that a server unrolls": "{% if messages|length %}" + LOOPS + "{% endif %}",
    "a power": POWERS,
    "a constant power": "{{ 10 ** (10 ** 10) }}",
    "squares": SQUARES,
    "a text that is repeated": REPEATS,
    "a constant text that is repeated": "{{ 'x' * 10 ** 10 }}",
    "a list that is repeated": "{{ ([1] * 10 ** 10)|length }}",
}


@pytest.fixture
def bounded():
    """llama-cpp-python as the runner leaves it, with half a second for a template; put back afterwards."""
    from jinja2.sandbox import SandboxedEnvironment

    formatter = llama_cpp.llama_chat_format.Jinja2ChatFormatter
    kept = [
        (owner, name, getattr(owner, name))
        for owner, name in (
            (formatter, "__init__"),
            (formatter, "__call__"),
            (SandboxedEnvironment, "intercepted_binops"),
            (SandboxedEnvironment, "call_binop"),
        )
    ]
    runner.bound_templates(llama_cpp, 0.5)
    yield lambda text: formatter(template=text, eos_token="", bos_token="")
    for owner, name, value in kept:
        setattr(owner, name, value)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_an_honest_template_is_rendered(bounded):
    assert bounded(HONEST)(messages=user("hi")).prompt == "user: hi\n"


def test_honest_arithmetic_is_done(bounded):
    text = "{{ 2 ** 10 * messages|length }} {{ 2 ** -1 }} {{ '=' * 3 }} {{ 1.5 * 2 }}"
    assert bounded(text)(messages=user("hi")).prompt == "1024 0.5 === 3.0"


@pytest.mark.parametrize("text", PYTHON.values(), ids=PYTHON.keys())
def test_it_is_given_up_in_python(bounded, text):
    begun = time.monotonic()
    with pytest.raises(runner.TemplateBudgetError):
        bounded(text)(messages=user("hi"))
    assert time.monotonic() - begun < 10


def test_one_of_more_than_a_mebibyte_is_refused(bounded):
    with pytest.raises(runner.TemplateBudgetError, match="more than 1048576 bytes"):
        bounded("x" * (1024 * 1024 + 1))(messages=user("hi"))


def test_a_debugger_goes_on_after_a_template(bounded):
    def look(*_):
        return None

    template, before = bounded(HONEST), sys.gettrace()
    sys.settrace(look)
    try:
        template(messages=user("hi"))
        assert sys.gettrace() is look
    finally:
        sys.settrace(before)
