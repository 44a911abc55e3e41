"""Events that observers receive: frozen facts about what happened. Nothing an observer does changes a build."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Event:
    """Base of all events."""


@frozen(kw_only=True)
class StageStarted(Event):
    """A stage of a target began; `cached` if its output already exists. A `StageFinished` follows unless it fails."""

    stage: str
    target: str
    detail: str = ""
    cached: bool = False


@frozen(kw_only=True)
class StageFinished(Event):
    """A stage of a target succeeded after `seconds`."""

    stage: str
    target: str
    seconds: float
    detail: str = ""
    cached: bool = False


@frozen(kw_only=True)
class BytesFetched(Event):
    """`done` of `total` bytes of a source's file have arrived; `total` is None if unknown."""

    source: str
    path: str
    done: int
    total: int | None


@frozen(kw_only=True)
class BytesSent(Event):
    """`done` of `total` bytes of a file have been sent to a destination."""

    path: str
    done: int
    total: int


@frozen(kw_only=True)
class TensorDone(Event):
    """Tensor number `index` of `count` is done.

    Attributes:
        stage: The stage that works on it.
        done: Bytes of weights that have been processed; None if unknown.
        total: All bytes of weights; None if unknown.
    """

    stage: str = "quantize"
    target: str
    tensor: str
    index: int
    count: int
    done: int | None = None
    total: int | None = None


@frozen(kw_only=True)
class WorkStopped(Event):
    """The current work failed or was interrupted. It sends no more events."""


@frozen(kw_only=True)
class Notice(Event):
    """Something the user should read; `warning` if it may be a mistake."""

    text: str
    warning: bool = False
