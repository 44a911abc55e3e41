"""obstore's failures as ours: what may pass, what will not, and what somebody must set."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

from lftool.api import ChangedError, FetchError, RangeError, TransientError
from lftool.api.http import Pace, least_rate, stall_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECE = 256 * 1024
_LOOK_SECONDS = 0.2
_NOT_THE_PART = ("non-partial response", "Requested ")  # object_store: `Requested 4..8, got 0..4`
_DENIED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "Missing credentials")
_HINTS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "requests to an endpoint from the recipe are anonymous: add its host to credentials.toml with an aws-profile",
    "for a public bucket: options = { anonymous = true }",
)


def pieces_of(found: Any, what: str) -> Iterator[bytes]:  # noqa: ANN401 - obstore's answer to a get
    """Yield the bytes of an answer, failures sorted; one that arrives too slowly is given up.

    obstore collects a whole piece before it returns, which may take for ever where every byte comes before a time-out. So
    it works on a thread of its own, and what it has not delivered in its time is not waited for.
    """
    with sorted_errors(what):
        yield from Pace(what).watch(_within(found.stream(min_chunk_size=_PIECE), _PIECE / least_rate(), what))


class _Reader:
    """Reads an answer on a thread of its own, a piece or two ahead."""

    def __init__(self, pieces: Iterable[Any]) -> None:
        self._pieces = pieces
        self._arrived: queue.Queue[bytes | BaseException | None] = queue.Queue(maxsize=2)
        self._over = threading.Event()
        threading.Thread(target=self._read, daemon=True, name="objects").start()

    def _put(self, item: bytes | BaseException | None) -> bool:
        while not self._over.is_set():
            with contextlib.suppress(queue.Full):
                self._arrived.put(item, timeout=_LOOK_SECONDS)
                return True
        return False

    def _read(self) -> None:
        try:
            for piece in self._pieces:
                if not self._put(bytes(piece)):
                    return
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - raised below, where somebody waits for it
            self._put(error)

    def next(self, seconds: float) -> bytes | None:
        """Return the next piece; None at the end. Raise `queue.Empty` if it takes longer."""
        item = self._arrived.get(timeout=seconds)
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """Leave the thread behind: it ends when the answer does, or with the process."""
        self._over.set()


def _within(pieces: Iterable[Any], seconds: float, what: str) -> Iterator[bytes]:
    """Yield pieces, each within some seconds.

    Raises:
        FetchError: One takes longer.
    """
    reader = _Reader(pieces)
    try:
        while (piece := reader.next(max(seconds, stall_seconds()))) is not None:
            yield piece
    except queue.Empty:
        raise FetchError(
            f"{what}: received fewer than {least_rate():g} bytes a second",
            hints=("if the store is this slow: LFTOOL_LEAST_RATE=BYTES_A_SECOND",),
        ) from None
    finally:
        reader.stop()


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
            raise RangeError(f"{what}: the store did not send the range that was requested") from error
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
