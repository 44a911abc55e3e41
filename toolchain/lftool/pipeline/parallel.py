"""Run independent work in parallel: results in order; the first failure stops the rest."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from lftool.api import Notice, WorkStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.pipeline.ports import Ports

S = TypeVar("S")
T = TypeVar("T")

_LOOK_SECONDS = 0.2
_LISTEN_SECONDS = 0.02  # longest delay before a signal on another thread is handled
_STOP_SECONDS = 3.0  # not shorter than the patience in cli/interrupts.py, whose message must be true


def next_of(finished: SimpleQueue[Future[T]]) -> Future[T]:
    """Return the next finished future.

    Ctrl-C may arrive on any thread, but only the main thread handles it, while it runs: it must not block forever.
    """
    while True:
        try:
            return finished.get(timeout=_LOOK_SECONDS)
        except Empty:
            continue


def apart(work: Callable[[], T], ports: Ports) -> T:
    """Return the result of `work`, run on a separate thread while the main thread waits for Ctrl-C.

    KeyboardInterrupt can hit between any two instructions of the main thread, even between creating a file and entering
    the block that removes it. Work on another thread only notices that it is cancelled when it checks.

    Args:
        work: Checks `ports` for cancellation from time to time.
        ports: Cancelled by an interrupt.

    Raises:
        Exception: What `work` raised.
        KeyboardInterrupt: The main thread was interrupted; `work` has ended.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="work") as pool:
        future = pool.submit(work)
        try:
            while not wait([future], _LISTEN_SECONDS).done:
                continue
        except KeyboardInterrupt:
            ports.cancel()
            ports.emit(WorkStopped())
            if not wait([future], _STOP_SECONDS).done:
                ports.emit(Notice(text="stopping; press Ctrl-C again to stop immediately"))
            raise
        return future.result()


def in_parallel(work: Callable[[S], T], items: Sequence[S], workers: int, ports: Ports) -> list[T]:
    """Return the results of `work` on each of `items`, in their order.

    Args:
        work: Called from several threads.
        items: The items to work on.
        workers: Number of threads.
        ports: Cancelled at the first failure.

    Raises:
        Exception: The first that `work` raised.
    """
    if not items:
        return []
    pending: list[Future[T]] = []
    finished: SimpleQueue[Future[T]] = SimpleQueue()
    with ThreadPoolExecutor(max(1, min(workers, len(items))), thread_name_prefix="stage") as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                pending[-1].add_done_callback(finished.put)
            for _ in pending:
                next_of(finished).result()
            return [future.result() for future in pending]
        except BaseException:
            for future in pending:
                future.cancel()
            ports.cancel()
            ports.emit(WorkStopped())
            raise
