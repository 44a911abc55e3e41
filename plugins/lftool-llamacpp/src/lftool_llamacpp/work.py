"""An answer in the making, on a thread of its own, and what a client is told when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from lftool_llamacpp.requests import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class StoppedError(Exception):
    """An answer that nobody waits for any more."""


class Work:
    """An answer in the making, on a thread of its own.

    Args:
        stopping: Set when the server is told to stop.
        make: Makes it, piece by piece.
    """

    def __init__(self, stopping: threading.Event, make: Callable[[], Iterator[Any]] = lambda: iter(())) -> None:
        self.make = make
        self._stopping = stopping
        self._over = threading.Event()
        self._done: asyncio.Event | None = None

    def check(self) -> None:
        """Raise where nobody waits for the answer any more; called between two tokens."""
        if self._over.is_set() or self._stopping.is_set():
            raise StoppedError

    def start(self, loop: asyncio.AbstractEventLoop) -> asyncio.Queue[Any]:
        """Begin, and return where pieces arrive: None at the end, an exception where it failed."""
        pieces: asyncio.Queue[Any] = asyncio.Queue()
        done = self._done = asyncio.Event()

        def work() -> None:
            try:
                for piece in self.make():
                    loop.call_soon_threadsafe(pieces.put_nowait, piece)
                    if self._over.is_set() or self._stopping.is_set():
                        break
                loop.call_soon_threadsafe(pieces.put_nowait, None)
            except Exception as error:  # noqa: BLE001 - of llama-cpp-python; told to the client
                with contextlib.suppress(RuntimeError):  # the loop has been closed
                    loop.call_soon_threadsafe(pieces.put_nowait, error)
            finally:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(done.set)

        # A daemon: an answer that is cut at the end of a stop must not keep the process.
        threading.Thread(target=work, daemon=True, name="answer").start()
        return pieces

    def stop(self) -> None:
        """Stop between two tokens."""
        self._over.set()

    async def ended(self) -> None:
        """Wait until the thread leaves the model alone."""
        if self._done is not None:
            await self._done.wait()


def refusal_of(error: BaseException) -> BadRequestError:
    """Return what a client is told of a failure in llama-cpp-python; never a prompt, nor a path of this machine."""
    text = str(error)
    if isinstance(error, BadRequestError):
        return error
    if isinstance(error, ValueError) and ("exceed context window" in text or "exceed batch size" in text):
        return BadRequestError("the prompt does not fit into the context", code="context_length_exceeded")
    if isinstance(error, StoppedError):
        return BadRequestError("the server is stopping", status=503, code="stopping")
    if type(error).__name__ in {"TemplateBudgetError", "TemplateError"}:
        return BadRequestError(text, status=422)
    if isinstance(error, ValueError | TypeError | KeyError):
        return BadRequestError(f"the model cannot answer this request: {type(error).__name__}")
    return BadRequestError(f"the model failed: {type(error).__name__}", status=500, code="model_error")
