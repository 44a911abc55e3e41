"""obstore's failures as ours: what may pass, what will not, and what somebody must set."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from lftool.errors import ChangedError, FetchError, RangeError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 1024 * 1024
_NOT_THE_PART = ("non-partial response", "Requested ")  # object_store: `Requested 4..8, got 0..4`
_DENIED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "Missing credentials")
_HINTS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "an endpoint that the recipe names is asked anonymously: name its host in credentials.toml with an aws-profile",
    "for a public bucket: options = { anonymous = true }",
)


def pieces_of(found: Any, what: str) -> Iterator[bytes]:  # noqa: ANN401 - obstore's answer to a get
    """Yield the bytes of an answer, failures sorted."""
    with sorted_errors(what):
        for piece in found.stream(min_chunk_size=_PIECE):
            yield bytes(piece)


@contextlib.contextmanager
def sorted_errors(what: str, *, part: bool = False, hints: tuple[str, ...] = _HINTS) -> Iterator[None]:
    """Turn obstore's errors into ours; its own texts hold URLs, which may be signed.

    Args:
        what: Whose objects, for messages.
        part: Whether a part of an object was asked for.
        hints: What to do when there is no right to it.
    """
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError as error:
        raise FetchError(f"{what}: there is no such object or bucket", hints=("a prefix ends in /",)) from error
    except exceptions.PreconditionError as error:
        raise ChangedError(f"{what} has changed since it was resolved") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise FetchError(f"{what}: not allowed", hints=hints) from error
    except exceptions.BaseError as error:
        text = str(error)
        if part and any(sign in text for sign in _NOT_THE_PART):
            raise RangeError(f"{what}: the store sent something else than the part that was asked for") from error
        if any(sign in text for sign in _DENIED):
            raise FetchError(f"{what}: not allowed", hints=hints) from error
        raise TransientError(f"{what}: {_reason(text)}") from error
    except OSError as error:
        raise TransientError(f"{what}: {_reason(str(error))}") from error


def _reason(text: str) -> str:
    """Return one line that says why, without the URL and the debugging output around it."""
    line = " ".join(text.split("\n\nDebug source", 1)[0].split())
    words = [word for word in line.split(" ") if "://" not in word]
    return " ".join(words)[:200]
