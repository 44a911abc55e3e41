"""The base error, its subclasses and the exit statuses. This module imports nothing from the project.

The library raises these errors; only the CLI prints them. A message says what happened, to what, and what was expected
and found. Hints say what to do next.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitStatus(IntEnum):
    """Exit statuses, the same for every command (docs/reference/exit-codes.md)."""

    OK = 0
    IO = 1
    USAGE = 2
    LOCK = 3
    INTEGRITY = 4
    TRUST = 5
    POLICY = 6
    NOT_REPRODUCIBLE = 7
    UNAVAILABLE = 8
    INTERRUPTED = 130


class LftoolError(Exception):
    """Base of every error for the user.

    Args:
        message: One sentence or a few lines: what happened, to what, and what was expected and found.
        hints: What to do next, most useful first.
    """

    code = "error"
    exit_status = ExitStatus.IO

    def __init__(self, message: str, *, hints: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hints = hints


class StorageError(LftoolError):
    """Reading or writing failed: disk full, permission, a vanished file."""

    code = "io"


class FetchError(LftoolError):
    """A source could not deliver its files."""

    code = "fetch"


class TransientError(FetchError):
    """A source failed temporarily: a broken connection, a stall, 429 or 5xx. The engine retries.

    Args:
        message: As in every error.
        hints: What to do about it, one sentence each.
        retry_after: How many seconds the remote asked to wait; None if it did not say.
    """

    code = "transient"

    def __init__(self, message: str, *, hints: tuple[str, ...] = (), retry_after: float | None = None) -> None:
        super().__init__(message, hints=hints)
        self.retry_after = retry_after


class RangeError(FetchError):
    """A remote sent something other than the requested part of a file, which must be read whole, from the start."""

    code = "range"


class ChangedError(FetchError):
    """The remote has another version now than the one that was requested."""

    code = "changed"


class UsageError(LftoolError):
    """The command line was wrong."""

    code = "usage"
    exit_status = ExitStatus.USAGE


class RecipeError(LftoolError):
    """The recipe is invalid, or asks for something impossible."""

    code = "recipe"
    exit_status = ExitStatus.USAGE


class PluginError(LftoolError):
    """A plugin failed. The message names the plugin and its distribution."""

    code = "plugin"
    exit_status = ExitStatus.UNAVAILABLE


class LockError(LftoolError):
    """The lock is missing, stale, unsupported or malformed."""

    code = "lock"
    exit_status = ExitStatus.LOCK


class IntegrityError(LftoolError):
    """Bytes are not what a digest, a lock or a format says they are."""

    code = "integrity"
    exit_status = ExitStatus.INTEGRITY


class FormatError(IntegrityError):
    """A file breaks the rules of its format, or the budgets of our readers."""

    code = "format"


class TrustError(LftoolError):
    """No trusted signature covers the bundle."""

    code = "trust"
    exit_status = ExitStatus.TRUST


class PolicyError(LftoolError):
    """A policy refuses what a valid signature says, or a check failed."""

    code = "policy"
    exit_status = ExitStatus.POLICY


class NotReproducibleError(LftoolError):
    """Bytes we made are not the bytes that the lock names."""

    code = "not-reproducible"
    exit_status = ExitStatus.NOT_REPRODUCIBLE


class UnavailableError(LftoolError):
    """It cannot be done here: offline and not in the store, or a tool is missing or makes other bits."""

    code = "unavailable"
    exit_status = ExitStatus.UNAVAILABLE


def instead_of(name: str, valid: Iterable[str]) -> str:
    """Return the end of a sentence that says that there is no such name: the likely one, or all that there are."""
    import difflib  # noqa: PLC0415 - only for errors

    found = sorted(valid)
    close = difflib.get_close_matches(name, found, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"it has {', '.join(found)}" if found else "it has none"
