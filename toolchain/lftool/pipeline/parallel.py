"""Do independent work at the same time: results in order, the first failure stops the rest."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from lftool.api import WorkStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lftool.pipeline.ports import Ports

S = TypeVar("S")
T = TypeVar("T")


def _wait_all(futures: Iterable[Future[T]], ports: Ports) -> list[T]:
    """Return all results; at the first failure, or an interrupt, stop the rest and raise it."""
    pending = list(futures)
    try:
        done, _ = wait(pending, return_when=FIRST_EXCEPTION)
        failed = [future for future in done if future.exception() is not None]
        if failed:
            failed[0].result()
        return [future.result() for future in pending]
    except BaseException:
        for future in pending:
            future.cancel()
        ports.cancel()
        ports.emit(WorkStopped())
        raise


def in_parallel(work: Callable[[S], T], items: Sequence[S], workers: int, ports: Ports) -> list[T]:
    """Return the results of `work` on each of `items`, in their order.

    Args:
        work: Called from several threads.
        items: What to work on.
        workers: How many threads.
        ports: Cancelled at the first failure.

    Raises:
        Exception: The first that `work` raised.
    """
    if not items:
        return []
    with ThreadPoolExecutor(max(1, min(workers, len(items))), thread_name_prefix="stage") as pool:
        return _wait_all([pool.submit(work, item) for item in items], ports)
