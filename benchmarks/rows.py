"""A row of the table of budgets."""

from __future__ import annotations

import statistics

from attrs import field, frozen


@frozen(kw_only=True)
class Row:
    """One budget: what was measured, in seconds unless said, and what it may be."""

    name: str
    ours: tuple[float, ...]
    peer: tuple[float, ...] = ()
    peer_name: str = ""
    budget: float
    unit: str = "s"
    note: str = field(default="")
    faster: bool = False  # say how many times faster than the peer, instead of the ratio of times

    @property
    def value(self) -> float:
        """The ratio of medians, or our median where there is no peer."""
        ours = statistics.median(self.ours)
        return ours / statistics.median(self.peer) if self.peer else ours

    @property
    def met(self) -> bool:
        """Whether the budget is met."""
        return self.value <= self.budget
