"""The rocm backend: AMD GPUs, as the amdgpu driver shows them in /sys.

Source: the kernel's documentation, gpu/amdgpu/driver-misc: `mem_info_vram_total`, `mem_info_vram_used`, `product_name`,
`unique_id`.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from lftool.api import Device, Probe
from lftool_llamacpp.backend import CPUBackend
from lftool_llamacpp.launching import accelerated, library_offloads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lftool.api import Figures, LaunchCommand, LaunchRequest, LoadReport, LoadRequest, QualityRequest

NAME = "rocm"
_AMD = "0x1002"
_LIBRARY = Path("opt/rocm/.info/version")
_COMPUTE = Path("dev/kfd")  # the device through which ROCm computes


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _device(card: Path) -> Device:
    total, used = _number(card / "mem_info_vram_total"), _number(card / "mem_info_vram_used")
    name = _text(card / "product_name") or f"AMD GPU {_text(card / 'device')}"
    free = None if total is None or used is None else max(0, total - used)
    return Device(name=name, memory=total, free=free)


def _place(card: Path) -> int:
    return int(card.parent.name.removeprefix("card"))


def _chosen(cards: list[Path], visible: str) -> list[Path]:
    """Return the devices that a variable leaves, in its order: named by number, or as `GPU-` and the card's unique number.

    What stands behind one that there is not does not count (ROCm documentation, "GPU isolation techniques").
    """
    by_name = {f"GPU-{_text(card / 'unique_id')}": card for card in cards}
    found: list[Path] = []
    for name in (part.strip() for part in visible.split(",")):
        card = cards[int(name)] if name.isdecimal() and int(name) < len(cards) else by_name.get(name)
        if card is None or card in found:
            break
        found.append(card)
    return found


def read(root: Path, library: Callable[[], bool], environment: Mapping[str, str] = MappingProxyType({})) -> Probe:
    """Return the probe of the machine whose files lie under `root`.

    Args:
        root: `/`, or a tree of files like it.
        library: Whether llama-cpp-python can compute on a GPU; only asked when there is one.
        environment: Has the variables that hide devices. ROCm's runtime applies the first, HIP the second to what is left.
    """
    drm = root / "sys/class/drm"
    named = [path for path in drm.glob("card*/device") if path.parent.name.removeprefix("card").isdecimal()]
    cards = sorted((path for path in named if _text(path / "vendor") == _AMD), key=_place)
    if not cards:
        return Probe(available=False, reason="the amdgpu driver shows no AMD GPU in /sys/class/drm")
    for variable in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if variable in environment:
            cards = _chosen(cards, environment[variable])
            if not cards:
                return Probe(available=False, reason=f"{variable}={environment[variable]!r} leaves no device")
    if not (root / _COMPUTE).exists():
        return Probe(
            available=False, reason=f"there is an AMD GPU, but no /{_COMPUTE}: ROCm's kernel driver is missing"
        )
    devices = tuple(_device(card) for card in cards)
    versions = {"amdgpu": _text(root / "sys/module/amdgpu/version"), "rocm": _text(root / _LIBRARY)}
    versions = {name: version for name, version in versions.items() if version}
    mark = "; ".join(f"{device.name} {_text(card / 'device')}" for card, device in zip(cards, devices, strict=True))
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "unknown driver"
    return Probe(available=True, devices=devices, versions=versions, library=library(), fingerprint=f"{told}; {mark}")


class ROCmBackend:
    """Runs bundles on AMD GPUs."""

    def probe(self) -> Probe:
        """Read what the driver shows."""
        return read(Path("/"), library_offloads, os.environ)

    def launch(self, request: LaunchRequest) -> LaunchCommand:
        """Return the process, with as many layers on the devices as fit."""
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
