"""The backend `abacus`: a device that no machine has. What it would start is lftool's runner, on the processor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.api import LaunchCommand, LoadReport, Probe, UnavailableError

if TYPE_CHECKING:
    from lftool.api import Figures, LaunchRequest, LoadRequest, Progress, QualityRequest


@frozen(kw_only=True)
class Options:
    """`[backends.abacus]` of the user's configuration."""

    beads: int = field(default=10, metadata={"doc": "How many each wire has."})


class Abacus:
    """Beads on wires."""

    def __init__(self, options: Options) -> None:
        self._beads = options.beads

    def probe(self) -> Probe:
        """Say that there is none."""
        return Probe(available=False, reason=f"no abacus with {self._beads} beads a wire is connected")

    def launch(self, request: LaunchRequest) -> LaunchCommand:
        """Return the process that would run a bundle."""
        probe = request.probe
        if probe is None or not probe.available:
            reason = "nobody has looked" if probe is None else probe.reason
            raise UnavailableError(f"no abacus: {reason}", hints=("use the processor: --backend cpu",))
        serve = request.serve
        server = () if serve is None else ("--serve", "--host", serve.host, "--port", str(serve.port))
        names = ", ".join(device.name for device in probe.devices)
        return LaunchCommand(
            argv=(sys.executable, str(request.runner), request.bundle, *server), sentence=f"beads move on {names}"
        )

    def measure(self, request: QualityRequest, progress: Progress) -> Figures:
        """Nobody has that much time."""
        del request, progress
        raise UnavailableError("an abacus measures nothing")

    def load(self, request: LoadRequest) -> LoadReport:
        """Never called: the record does not say `loads`."""
        del request
        raise UnavailableError("an abacus loads nothing")
