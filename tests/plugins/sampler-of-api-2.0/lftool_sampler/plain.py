"""The layout `plain`: weights first, companions by choice. Whoever lays out otherwise raises `number` of the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.api import LayoutPlan, PlannedPrefix

if TYPE_CHECKING:
    from lftool.api import LayoutInputs


@frozen(kw_only=True)
class Options:
    """`layout_options` of a target."""

    companions: bool = field(default=True, metadata={"doc": "Whether adapters and projectors travel with the weights."})


class Plain:
    """No bytes are read or written here."""

    def plan(self, inputs: LayoutInputs) -> LayoutPlan:
        """Return prefix and members; the core adds the documents, and writes."""
        companions = inputs.companions if inputs.options.companions else ()
        weights = PlannedPrefix(role="gguf", artifact=inputs.weights)
        return LayoutPlan(prefix=weights, members=(*companions, *inputs.runtime_members))
