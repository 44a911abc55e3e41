"""How often, how long and over how many connections: the rules of a transfer, and when to try again."""

from __future__ import annotations

import os
import random

from attrs import frozen

from lftool.errors import FetchError, TransientError, UsageError

ATTEMPTS = "LFTOOL_FETCH_ATTEMPTS"


@frozen(kw_only=True)
class TransferRules:
    """What bounds a transfer.

    Attributes:
        files: How many files at once.
        connections: How many connections a large file is fetched over.
        ramp: Seconds before each connection after the second; one that is not slow needs no more of them.
        segment: How many bytes one request of a large file asks for, in whole chunks.
        attempts: How many times in a row something is tried without a new byte; 1 for sources on this machine.
        first_wait: Seconds before the second attempt; doubled for each further one.
        most_wait: The longest wait, in seconds; a remote that asks for more is an error.
    """

    files: int = 4
    connections: int = 4
    ramp: float = 1.0
    segment: int = 64 * 1024 * 1024
    attempts: int = 6
    first_wait: float = 0.5
    most_wait: float = 60.0


def rules_from_environment() -> TransferRules:
    """Return the default rules, with the number of attempts that `LFTOOL_FETCH_ATTEMPTS` names.

    Raises:
        UsageError: It is no positive number.
    """
    text = os.environ.get(ATTEMPTS)
    if text is None:
        return TransferRules()
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"{ATTEMPTS} must be a number from 1 on, not {text!r}")
    return TransferRules(attempts=int(text))


def wait_before(attempt: int, error: TransientError, rules: TransferRules, what: str) -> float:
    """Return how many seconds to wait before trying again.

    Args:
        attempt: How many attempts have failed in a row.
        error: How the last one failed.
        rules: The rules.
        what: What is fetched, for the message.

    Raises:
        FetchError: It has been tried often enough, or the remote asks to wait longer than the rules allow.
    """
    if attempt >= rules.attempts:
        tried = f"gave up after {attempt} attempts" if attempt > 1 else "gave up"
        raise FetchError(f"{what}: {tried}; the last one: {error.message}", hints=error.hints) from error
    if error.retry_after is not None:
        if error.retry_after > rules.most_wait:
            raise FetchError(
                f"{what}: {error.message}; the remote asks to wait {error.retry_after:.0f} s",
                hints=("try again then: what has arrived is kept",),
            ) from error
        return error.retry_after
    longest: float = min(rules.most_wait, rules.first_wait * 2.0 ** (attempt - 1))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads clients out; guards nothing
