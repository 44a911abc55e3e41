"""Make fingerprints while files are fetched: neither waits for the other, and fetching leaves processors idle."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from lftool.pipeline.graph.steps import Fetch, Quantize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.pipeline.graph.steps import Graph
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.tools.pins import Pins


@contextlib.contextmanager
def fingerprints_ahead(graph: Graph, pins: Pins, ports: Ports) -> Iterator[None]:
    """Make the fingerprints that quantize steps will compare, during the block; the steps then find them remembered.

    Nothing is done where nothing is fetched. Errors are left to the steps, which meet them again.

    Args:
        graph: The steps of the block.
        pins: The pins that they follow.
        ports: Store, child processes; cancelled if the block fails.
    """
    steps = [step for step in graph if isinstance(step, Quantize) and step.locked is not None and not step.cached]
    if not steps or all(step.cached for step in graph if isinstance(step, Fetch)):
        yield
        return

    def make() -> None:
        from lftool.pipeline.tools.tool import fingerprint  # noqa: PLC0415 - most builds quantise nothing

        for step in steps:
            with contextlib.suppress(Exception, KeyboardInterrupt):  # the latter when the build is cancelled
                if step.locked is not None:
                    fingerprint(pins.quantizer(step), step.locked.uses, ports)

    thread = threading.Thread(target=make, name="fingerprints")
    thread.start()
    try:
        yield
    finally:
        thread.join()
