"""The cpu backend: llama-cpp-python in a process of its own, started with the runner that the core hands over."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from lftool.api import LaunchCommand, Probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from lftool.api import LaunchRequest, QualityFigures, QualityRequest


class CPUBackend:
    """Runs bundles with llama-cpp-python."""

    def probe(self) -> Probe:
        """Return whether llama-cpp-python can be imported, and what it runs on."""
        try:
            import llama_cpp
        except (ImportError, OSError, RuntimeError) as error:
            return Probe(available=False, reason=f"llama-cpp-python cannot be loaded: {error}")
        version = metadata.version("llama-cpp-python")
        info = llama_cpp.llama_print_system_info().decode().strip()
        device = f"{platform.machine()}, {os.cpu_count()} threads"
        return Probe(available=True, devices=(device,), fingerprint=f"llama-cpp-python {version}; {info}")

    def measure(self, request: QualityRequest, progress: Callable[[str, int, int], None]) -> QualityFigures:
        """Return perplexity and KL divergence, computed as llama.cpp's tools/perplexity does."""
        from lftool_llamacpp.perplexity import measure  # noqa: PLC0415 - heavy, child processes only

        return measure(request, progress)

    def launch(self, request: LaunchRequest) -> LaunchCommand:
        """Return the process: this interpreter, isolated, the runner, the bundle."""
        return LaunchCommand(argv=(sys.executable, "-I", str(request.runner), request.bundle))
