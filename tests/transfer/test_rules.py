"""When to try again, how long to wait, and when to stop."""

from __future__ import annotations

import pytest

from lftool.errors import FetchError, TransientError, UsageError
from lftool.transfer.fetch_rules import TransferRules, rules_from_environment, wait_before

RULES = TransferRules(attempts=4, first_wait=1.0, most_wait=5.0)


@pytest.mark.parametrize(("attempt", "longest"), [(1, 1.0), (2, 2.0), (3, 4.0)])
def test_waits_double_and_are_spread_out(attempt, longest):
    waits = {wait_before(attempt, TransientError("x"), RULES, "f") for _ in range(50)}

    assert len(waits) > 1
    assert all(longest / 2 <= wait <= longest for wait in waits)


def test_no_wait_is_longer_than_the_rules_allow():
    rules = TransferRules(attempts=50, first_wait=1.0, most_wait=5.0)

    assert all(wait_before(attempt, TransientError("x"), rules, "f") <= 5.0 for attempt in range(1, 50))


def test_a_remote_that_names_a_time_is_given_it():
    assert wait_before(1, TransientError("x", retry_after=3.0), RULES, "f") == 3.0


def test_a_remote_that_asks_for_too_long_is_an_error_that_says_so():
    with pytest.raises(FetchError) as caught:
        wait_before(1, TransientError("host answered 429", retry_after=7200.0), RULES, "file a")

    assert caught.value.message == "file a: host answered 429; the remote asks to wait 7200 s"
    assert caught.value.hints == ("try again then: what has arrived is kept",)


def test_after_the_last_attempt_the_error_says_what_was_tried():
    with pytest.raises(FetchError) as caught:
        wait_before(4, TransientError("host answered 503", hints=("ask them",)), RULES, "file a")

    assert caught.value.message == "file a: gave up after 4 attempts; the last one: host answered 503"
    assert caught.value.hints == ("ask them",)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", ""])
def test_a_number_of_attempts_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("LFTOOL_FETCH_ATTEMPTS", text)

    with pytest.raises(UsageError, match=r"^LFTOOL_FETCH_ATTEMPTS must be a number, 1 or more, not "):
        rules_from_environment()


def test_the_number_of_attempts_can_be_set(monkeypatch):
    monkeypatch.setenv("LFTOOL_FETCH_ATTEMPTS", "9")

    assert rules_from_environment() == TransferRules(attempts=9)
