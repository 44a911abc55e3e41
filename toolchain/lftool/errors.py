"""The one base error, its exit statuses, and nothing else: this module imports nothing of the project.

The library raises these; only the CLI prints. A message says what happened, to what, and expected against got; hints
say what to do next.
"""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """What a process exit means, the same in every command (docs/reference/exit-codes.md)."""

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
    """Base of every error that a user is meant to read.

    Args:
        message: One sentence or a few lines: what happened, to what, expected against got.
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
    """A source failed in a way that may pass: a broken connection, a stall, 429 or 5xx. The engine tries again.

    Args:
        message: As in every error.
        hints: What to do about it; one sentence each.
        retry_after: How many seconds the remote asked to wait; None if it did not say.
    """

    code = "transient"

    def __init__(self, message: str, *, hints: tuple[str, ...] = (), retry_after: float | None = None) -> None:
        super().__init__(message, hints=hints)
        self.retry_after = retry_after


class RangeError(FetchError):
    """A remote that was asked for a part of a file sent something else; it must be read whole, from the start."""

    code = "range"


class ChangedError(FetchError):
    """What a remote has now is another version than the one that was asked for."""

    code = "changed"


class UsageError(LftoolError):
    """The command line was wrong."""

    code = "usage"
    exit_status = ExitStatus.USAGE


class RecipeError(LftoolError):
    """The recipe is wrong, or asks for what cannot be."""

    code = "recipe"
    exit_status = ExitStatus.USAGE


class PluginError(LftoolError):
    """A plugin failed; the message names plugin and distribution."""

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
    """A policy refuses what a valid signature says."""

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
