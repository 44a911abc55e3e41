"""The cuda backend: NVIDIA GPUs, as the driver's own `nvidia-smi` names them."""

from __future__ import annotations

import csv
import shutil
import subprocess
from typing import TYPE_CHECKING

from lftool.api import Device, Probe
from lftool_llamacpp.backend import CPUBackend
from lftool_llamacpp.launching import accelerated, library_offloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from lftool.api import LaunchCommand, LaunchRequest, QualityFigures, QualityRequest

NAME = "cuda"
# nvidia-smi(1), "--query-gpu": sizes in MiB with nounits.
QUERY = ("name", "memory.total", "memory.free", "driver_version", "compute_cap", "uuid")
_COMMAND = ("nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits")
_SECONDS = 20
_MIB = 1024 * 1024


def _mebibytes(text: str) -> int | None:
    """Return a size in bytes; None for `[N/A]`, which devices answer that share the machine's memory."""
    return int(text) * _MIB if text.isdigit() else None


def parse(output: str, *, library: bool) -> Probe:
    """Return the probe that `nvidia-smi` with `QUERY` means."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(output.splitlines()) if row]
    if not rows:
        return Probe(available=False, reason="the NVIDIA driver lists no device")
    if any(len(row) != len(QUERY) for row in rows):
        return Probe(available=False, reason=f"nvidia-smi answered what lftool does not understand: {output[:200]!r}")
    devices = tuple(Device(name=row[0], memory=_mebibytes(row[1]), free=_mebibytes(row[2])) for row in rows)
    versions = {"driver": rows[0][3], "compute capability": ", ".join(sorted({row[4] for row in rows}))}
    mark = "; ".join(f"{row[0]} {row[4]} {row[5]}" for row in rows)
    return Probe(
        available=True,
        devices=devices,
        versions=versions,
        library=library,
        fingerprint=f"driver {rows[0][3]}; {mark}",
    )


class CUDABackend:
    """Runs bundles on NVIDIA GPUs."""

    def probe(self) -> Probe:
        """Ask the driver's tool; a driver that hangs is given up."""
        if shutil.which(_COMMAND[0]) is None:
            return Probe(available=False, reason="there is no NVIDIA driver: nvidia-smi is not on PATH")
        try:
            done = subprocess.run(
                _COMMAND, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError) as error:
            return Probe(available=False, reason=f"nvidia-smi does not answer: {error}")
        if done.returncode:
            told = (done.stdout + done.stderr).strip().splitlines()
            return Probe(available=False, reason=f"nvidia-smi: {told[0] if told else f'exit status {done.returncode}'}")
        return parse(done.stdout, library=library_offloads())

    def launch(self, request: LaunchRequest) -> LaunchCommand:
        """Return the process, with as many layers on the devices as fit."""
        return accelerated(request, NAME)

    def measure(self, request: QualityRequest, progress: Callable[[str, int, int], None]) -> QualityFigures:
        """Return how well weights predict a text, computed on the processor: it is what checks compare with."""
        return CPUBackend().measure(request, progress)
