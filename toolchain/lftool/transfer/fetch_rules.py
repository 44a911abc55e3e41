"""The rules of a transfer: attempts, waiting times and connections, and when to retry."""

from __future__ import annotations

import os
import random

from attrs import frozen

from lftool.errors import FetchError, TransientError, UsageError

ATTEMPTS = "LFTOOL_FETCH_ATTEMPTS"


@frozen(kw_only=True)
class TransferRules:
    """Limits of a transfer.

    Attributes:
        files: Number of files to fetch in parallel.
        connections: Number of connections for a large file.
        ramp: Seconds before each connection after the second; a fast transfer ends before it needs more.
        segment: Bytes per request for a large file, a whole number of chunks.
        attempts: Attempts in a row without a new byte; 1 for sources on this machine.
        first_wait: Seconds before the second attempt, doubled for each further one.
        most_wait: Longest wait in seconds; a remote that asks for more is an error.
    """

    files: int = 4
    connections: int = 4
    ramp: float = 1.0
    segment: int = 64 * 1024 * 1024
    attempts: int = 6
    first_wait: float = 0.5
    most_wait: float = 60.0


def rules_from_environment() -> TransferRules:
    """Return the default rules, with the number of attempts from `LFTOOL_FETCH_ATTEMPTS`.

    Raises:
        UsageError: It is not a positive number.
    """
    text = os.environ.get(ATTEMPTS)
    if text is None:
        return TransferRules()
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"{ATTEMPTS} must be a number, 1 or more, not {text!r}")
    return TransferRules(attempts=int(text))


def wait_before(attempt: int, error: TransientError, rules: TransferRules, what: str) -> float:
    """Return the seconds to wait before the next attempt.

    Args:
        attempt: Number of failed attempts in a row.
        error: The last failure.
        rules: The rules.
        what: The file's name for messages.

    Raises:
        FetchError: No attempts are left, or the remote asks to wait longer than the rules allow.
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
    return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads clients out; not for security
