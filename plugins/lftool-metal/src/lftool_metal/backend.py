"""The metal backend: GPUs of Macs, as macOS' own system_profiler names them."""

from __future__ import annotations

import json
import platform
import subprocess
from typing import TYPE_CHECKING, Any

from lftool.api import Device, Probe
from lftool_llamacpp.backend import CPUBackend
from lftool_llamacpp.launching import accelerated, library_offloads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.api import Figures, LaunchCommand, LaunchRequest, LoadReport, LoadRequest, QualityRequest

NAME = "metal"
_PROFILER = ("/usr/sbin/system_profiler", "SPDisplaysDataType", "-json")
_MEMORY = ("/usr/sbin/sysctl", "-n", "hw.memsize")
_SECONDS = 20
# Apple's GPUs share the machine's memory. Metal recommends a working set of two thirds to three quarters of it
# (MTLDevice.recommendedMaxWorkingSetSize, which needs Objective-C to ask): two thirds is safe on all.
_SHARE = (2, 3)


def _supports_metal(gpu: dict[str, Any]) -> bool:
    """Tell whether a GPU supports Metal: the key has had two names, and older systems another."""
    keys = ("spdisplays_mtlgpufamilysupport", "spdisplays_metalfamily", "spdisplays_metal")
    found = [str(gpu[key]) for key in keys if key in gpu]
    return any("notsupported" not in value.lower() for value in found)


def parse(profile: str, memory: str, *, library: bool, system: str) -> Probe:
    """Return the probe that system_profiler's JSON and `hw.memsize` mean.

    Args:
        profile: What `system_profiler SPDisplaysDataType -json` printed.
        memory: What `sysctl -n hw.memsize` printed.
        library: Whether llama-cpp-python can compute on a GPU.
        system: Version of macOS.
    """
    try:
        gpus = json.loads(profile)["SPDisplaysDataType"]
        able = [gpu for gpu in gpus if _supports_metal(gpu)]
        names = [str(gpu.get("sppci_model") or gpu["_name"]) for gpu in able]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Probe(available=False, reason=f"cannot parse the output of system_profiler: {error!r}")
    if not names:
        return Probe(available=False, reason="macOS lists no GPU that supports Metal")
    total = int(memory) if memory.strip().isdigit() else None
    room = None if total is None else total * _SHARE[0] // _SHARE[1]
    return Probe(
        available=True,
        devices=tuple(Device(name=name, memory=total, free=room) for name in names[:1]),  # llama.cpp uses the first
        versions={"macOS": system},
        library=library,
        fingerprint=f"macOS {system}; {'; '.join(names)}",
    )


def _output(command: tuple[str, ...]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout


class MetalBackend:
    """Runs bundles on GPUs of Macs, with llama-cpp-python: there is no native runtime for macOS."""

    def probe(self) -> Probe:
        """Ask macOS."""
        if platform.system() != "Darwin":
            return Probe(available=False, reason=f"Metal needs macOS, this is {platform.system()}")
        try:
            profile, memory = _output(_PROFILER), _output(_MEMORY)
        except (OSError, subprocess.SubprocessError) as error:
            return Probe(available=False, reason=f"cannot run system_profiler: {error}")
        return parse(profile, memory, library=library_offloads(), system=platform.mac_ver()[0])

    def launch(self, request: LaunchRequest) -> LaunchCommand:
        """Return the process, with as many layers on the device as fit."""
        return accelerated(request, NAME)

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
