"""The cpu backend: the native runtime, or llama-cpp-python in a process of its own with the runner of the core."""

from __future__ import annotations

import importlib.util
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve
from packaging.version import Version

from lftool.api import Device, EngineRelease, Probe, UnavailableError
from lftool_llamacpp.launching import command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.api import Figures, LaunchCommand, LaunchRequest, LoadReport, LoadRequest, QualityRequest


def _processor() -> Device:
    """Return the processor's name and the machine's memory, from /proc (proc(5)) where there is one."""
    facts: dict[str, str] = {}
    for path in ("/proc/cpuinfo", "/proc/meminfo"):
        if Path(path).exists():
            for line in Path(path).read_text(errors="replace").splitlines():
                key, _, value = line.partition(":")
                facts.setdefault(key.strip(), value.strip())
    memory = {key: int(facts[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable") if key in facts}
    name = facts.get("model name") or platform.processor() or platform.machine()
    return Device(name=name, memory=memory.get("MemTotal"), free=memory.get("MemAvailable"))


def release_of(distribution: str) -> EngineRelease:
    """Return an engine that is a package of its own."""
    from lftool_llamacpp.package_index import newest_release  # noqa: PLC0415 - it brings an HTTP client

    try:
        installed = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        installed = None
    return EngineRelease(
        name=distribution,
        installed=installed,
        newest=newest_release(distribution),
        update=f"pip install --upgrade {distribution}",
    )


class CPUBackend:
    """Runs bundles on the processor; it is always there."""

    def probe(self) -> Probe:
        """Return what the processor is, and whether llama-cpp-python can be loaded."""
        device = _processor()
        try:
            import llama_cpp
        except (ImportError, OSError, RuntimeError):
            return Probe(available=True, devices=(device,), fingerprint=platform.machine())
        version = metadata.version("llama-cpp-python")
        info = llama_cpp.llama_print_system_info().decode().strip()
        return Probe(
            available=True,
            devices=(device,),
            versions={"llama-cpp-python": version},
            library=True,
            fingerprint=f"llama-cpp-python {version}; {info}",
        )

    def measure(self, request: QualityRequest, progress: Callable[[str, int, int], None]) -> Figures:
        """Return perplexity and KL divergence, computed as llama.cpp's tools/perplexity does; of vectors, their cosine."""
        from lftool_llamacpp.quality import measure  # noqa: PLC0415 - heavy, child processes only

        return measure([request], progress)[0]

    def measure_several(
        self, requests: Sequence[QualityRequest], progress: Callable[[str, int, int], None]
    ) -> Sequence[Figures]:
        """Return the figures of several weights, with one pass of the unquantised ones."""
        from lftool_llamacpp.quality import measure  # noqa: PLC0415 - as above

        return measure(requests, progress)

    def load(self, request: LoadRequest) -> LoadReport:
        """Load vocabulary and list of tensors with llama-cpp-python."""
        if importlib.util.find_spec("llama_cpp") is None:
            raise UnavailableError(
                "llama-cpp-python is not installed", hints=("how to install it: lftool help install",)
            )
        from lftool_llamacpp.loading import load  # noqa: PLC0415 - heavy, child processes only

        return load(request)

    def releases(self) -> Sequence[EngineRelease]:
        """Return llama-cpp-python, and the release of it whose llama.cpp native runtimes are compiled from."""
        from lftool_llamacpp.sources import KNOWN  # noqa: PLC0415 - only this needs it

        found = release_of("llama-cpp-python")
        native = evolve(
            found,
            name="native",
            installed=max(KNOWN, key=Version),
            update="it comes with a newer lftool-llamacpp",
        )
        return [found, native]

    def launch(self, request: LaunchRequest) -> LaunchCommand:
        """Return the process."""
        return command(request, (), "on the processor")
