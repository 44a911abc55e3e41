"""The cuda backend: NVIDIA GPUs, as the driver's own `nvidia-smi` names them."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from lftool.api import Device, Probe, UnavailableError
from lftool_llamacpp.backend import CPUBackend
from lftool_llamacpp.launching import accelerated, library_offloads, require_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.api import Figures, LaunchCommand, LaunchRequest, LoadReport, LoadRequest, QualityRequest

NAME = "cuda"
# nvidia-smi(1), "--query-gpu": sizes in MiB with nounits.
QUERY = ("name", "memory.total", "memory.free", "driver_version", "compute_cap", "uuid")
_COMMAND = ("nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits")
_SECONDS = 20
_DAMAGED_INFOROM = 14  # nvidia-smi(1), "RETURN VALUE": it warns, and lists devices all the same
_OLDEST = (7, 5)  # compute capability that flavour.py compiles for
_ORDER = "CUDA_DEVICE_ORDER"
_AS_LISTED = "PCI_BUS_ID"  # the order of nvidia-smi; CUDA's own begins with the fastest
_MIB = 1024 * 1024


def _mebibytes(text: str) -> int | None:
    """Return a size in bytes; None for `[N/A]`, which devices answer that share the machine's memory."""
    return int(text) * _MIB if text.isdigit() else None


def _chosen(rows: list[list[str]], visible: str) -> list[list[str]]:
    """Return the devices that CUDA would show, in its order (CUDA programming guide, "CUDA Environment Variables").

    They are named by number or by the beginning of a UUID; what stands behind one that there is not does not count. A part
    of a device (MIG) is not listed, and what it has is not known.
    """
    found: list[list[str]] = []
    for name in (part.strip() for part in visible.split(",")):
        if name.startswith("MIG-"):
            found.append([name, "", "", rows[0][3], rows[0][4], name])
            continue
        by_number = rows[int(name)] if name.isdigit() and int(name) < len(rows) else None
        by_name = next((row for row in rows if name.startswith("GPU-") and row[5].startswith(name)), None)
        row = by_number or by_name
        if row is None or row in found:
            break
        found.append(row)
    return found


def parse(output: str, *, library: bool, visible: str | None = None) -> Probe:
    """Return the probe that `nvidia-smi` with `QUERY` means; `visible` is CUDA_VISIBLE_DEVICES, None when it is not set."""
    lines = [line for line in output.splitlines() if not line.startswith("WARNING:")]
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if row]
    except csv.Error:
        rows = [[]]
    if not rows:
        return Probe(available=False, reason="the NVIDIA driver lists no device")
    if visible is not None and all(len(row) == len(QUERY) for row in rows):
        rows = _chosen(rows, visible)
        if not rows:
            return Probe(available=False, reason=f"CUDA_VISIBLE_DEVICES={visible!r} leaves no device")
    if any(len(row) != len(QUERY) for row in rows):
        return Probe(available=False, reason=f"cannot parse the output of nvidia-smi: {output[:200]!r}")
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


def _require_capability(probe: Probe) -> None:
    for capability in probe.versions["compute capability"].split(", "):
        numbers = tuple(int(part) for part in capability.split(".") if part.isdigit())
        if numbers and numbers < _OLDEST:
            raise UnavailableError(
                f"a device has compute capability {capability}, and the native runtime for cuda is compiled for 7.5 and newer",
                hints=("hide it with CUDA_VISIBLE_DEVICES", "or use the processor: --backend cpu"),
            )


class CUDABackend:
    """Runs bundles on NVIDIA GPUs."""

    def probe(self) -> Probe:
        """Ask the driver's tool; a driver that hangs is given up."""
        if shutil.which(_COMMAND[0]) is None:
            return Probe(available=False, reason="there is no NVIDIA driver: nvidia-smi is not on PATH")
        try:
            done = subprocess.run(
                _COMMAND,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return Probe(available=False, reason=f"cannot run nvidia-smi: {error}")
        if done.returncode not in {0, _DAMAGED_INFOROM}:
            told = (done.stdout + done.stderr).strip().splitlines()
            return Probe(available=False, reason=f"nvidia-smi: {told[0] if told else f'exit status {done.returncode}'}")
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return parse(done.stdout, library=library_offloads(), visible=visible)

    def launch(self, request: LaunchRequest) -> LaunchCommand:
        """Return the process, with as many layers on the devices as fit."""
        if request.executable is not None:
            _require_capability(require_device(request.probe, NAME))
        order = os.environ.get(_ORDER, _AS_LISTED)
        # In an order that is not known here, no device can be given a share of its own.
        command = accelerated(request, NAME, shared=order == _AS_LISTED)
        # Where the driver keeps kernels that it has compiled for this device: CUDA C++ Programming Guide, environment variables.
        cache = os.environ.get("CUDA_CACHE_PATH") or str(Path.home() / ".nv" / "ComputeCache")
        return evolve(command, environment={_ORDER: order}, writes=(cache,))

    def measure(self, request: QualityRequest, progress: Callable[[str, int, int], None]) -> Figures:
        """Return how well weights predict a text, computed on the processor: it is what checks compare with."""
        return CPUBackend().measure(request, progress)

    def measure_several(
        self, requests: Sequence[QualityRequest], progress: Callable[[str, int, int], None]
    ) -> Sequence[Figures]:
        """Return what the processor measures."""
        return CPUBackend().measure_several(requests, progress)

    def load(self, request: LoadRequest) -> LoadReport:
        """Load vocabulary and list of tensors on the processor: they are the same everywhere."""
        return CPUBackend().load(request)
