"""What the run contract puts into requests to llama-cpp-python's server."""

from __future__ import annotations

import pytest

from lftool_llamacpp.requests import with_contract

CONTRACT = {
    "temperature": "0.5",
    "top_k": 3,
    "max_tokens": 20,
    "seed": 7,
    "stop": ["x"],
    "system": "You tell stories.",
    "context": 64,
}
USER = {"role": "user", "content": "hi"}


def test_it_fills_in_what_a_request_does_not_say():
    assert with_contract({"messages": [USER]}, CONTRACT, chat=True) == {
        "temperature": 0.5,
        "top_k": 3,
        "max_tokens": 20,
        "seed": 7,
        "stop": ["x"],
        "messages": [{"role": "system", "content": "You tell stories."}, USER],
    }


def test_what_a_request_says_stays():
    own = {"temperature": 1.0, "max_tokens": 1, "stop": "y", "messages": [{"role": "developer", "content": "be"}, USER]}
    made = with_contract(own, CONTRACT, chat=True)
    assert {key: made[key] for key in own} == own


def test_a_null_says_nothing():
    assert with_contract({"temperature": None, "prompt": "a"}, CONTRACT, chat=False)["temperature"] == 0.5


def test_the_newer_name_of_max_tokens_counts():
    assert with_contract({"max_completion_tokens": 3}, CONTRACT, chat=False)["max_tokens"] == 3


def test_a_completion_gets_no_system_prompt():
    assert "messages" not in with_contract({"prompt": "a"}, CONTRACT, chat=False)


@pytest.mark.parametrize("messages", ["text", None])
def test_messages_that_are_wrong_are_the_servers_to_refuse(messages):
    assert with_contract({"messages": messages}, CONTRACT, chat=True).get("messages") == messages
