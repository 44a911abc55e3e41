"""Events that observers receive: frozen facts about what happened; nothing an observer does changes a build."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Event:
    """Base of all events."""


@frozen(kw_only=True)
class StageStarted(Event):
    """A stage of a target began; `cached` when its output is there already. A `StageFinished` follows, unless it fails."""

    stage: str
    target: str
    detail: str = ""
    cached: bool = False


@frozen(kw_only=True)
class StageFinished(Event):
    """A stage of a target ended well, after `seconds`."""

    stage: str
    target: str
    seconds: float
    detail: str = ""
    cached: bool = False


@frozen(kw_only=True)
class BytesFetched(Event):
    """`done` of `total` bytes of a source's file have arrived; `total` is None when it is not known."""

    source: str
    path: str
    done: int
    total: int | None


@frozen(kw_only=True)
class TensorDone(Event):
    """Tensor number `index` of `count` is done.

    Attributes:
        stage: The stage that works on it.
        done: Bytes of weights that have been treated; None where they are not known.
        total: Of how many.
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
    """What was going on has failed or was interrupted; no more of it will be heard."""


@frozen(kw_only=True)
class Notice(Event):
    """Something a person should read; `warning` when it may be a mistake."""

    text: str
    warning: bool = False
