"""The cpu backend with xllamacpp, in a process of its own."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from attrs import evolve

from lftool.api import LaunchCommand, Probe, UnavailableError
from lftool_llamacpp.backend import CPUBackend, release_of
from lftool_llamacpp.launching import command, server_arguments
from lftool_xllamacpp.versions import NAME, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.api import EngineRelease, Figures, LaunchRequest, LoadReport, LoadRequest, QualityRequest


class XllamacppBackend:
    """Runs bundles on the processor."""

    def probe(self) -> Probe:
        """Return what the processor is, and whether xllamacpp is installed."""
        found = CPUBackend().probe()
        if importlib.util.find_spec(NAME) is None:
            return evolve(found, versions={}, library=False)
        import xllamacpp  # noqa: PLC0415 - heavy, child processes only

        told = versions()
        info = xllamacpp.get_system_info().strip()
        return evolve(found, versions=told, library=True, fingerprint=f"{NAME} {told[NAME]}; {info}")

    def launch(self, request: LaunchRequest) -> LaunchCommand:
        """Return the process.

        Raises:
            UnavailableError: xllamacpp is not installed, or the weights do not begin the file.
        """
        if request.executable is not None:
            return command(request, (), "on the processor")
        if importlib.util.find_spec(NAME) is None:
            raise UnavailableError("xllamacpp is not installed", hints=("pip install 'lftool[xllamacpp]'",))
        if request.runtime is not None:
            raise UnavailableError(
                f"xllamacpp loads files that begin with their weights; this bundle begins with its runtime, {request.runtime}",
                hints=(
                    "start the bundle itself",
                    "or use another engine: pip install 'lftool[cpu]'",
                    'or build the target with layout = "gguf"',
                ),
            )
        if request.scratch is None:
            raise UnavailableError(
                "xllamacpp needs a folder for its socket, and lftool's cache cannot be written",
                hints=("name another cache: XDG_CACHE_HOME=FOLDER lftool …",),
            )
        folder, told = str(request.scratch), versions()
        script = str(request.runner)
        runner: tuple[str, ...] = ("lftool_xllamacpp.talking", script, request.bundle)
        if request.serve is not None:
            runner = ("lftool_xllamacpp.serving", script, request.bundle, *server_arguments(request.serve))
        own = importlib.util.find_spec("lftool_llamacpp")
        return LaunchCommand(
            argv=(sys.executable, "-I", "-m", *runner),
            environment={"LFTOOL_SOCKETS": folder},
            reads=tuple((own and own.submodule_search_locations) or ()),
            writes=(folder,),
            sentence=f"on the processor; xllamacpp {told[NAME]} (llama.cpp {told['llama.cpp']})",
        )

    def releases(self) -> Sequence[EngineRelease]:
        """Return xllamacpp."""
        return [release_of(NAME)]

    def measure(self, request: QualityRequest, progress: Callable[[str, int, int], None]) -> Figures:
        """Refuse: xllamacpp gives no logits.

        Raises:
            UnavailableError: Always.
        """
        return self.measure_several([request], progress)[0]

    def measure_several(
        self, requests: Sequence[QualityRequest], progress: Callable[[str, int, int], None]
    ) -> Sequence[Figures]:
        """Refuse, as `measure` does."""
        del requests, progress
        raise UnavailableError(
            "xllamacpp cannot measure how well a model predicts a text",
            hints=("install llama-cpp-python for that: pip install 'lftool[cpu]'",),
        )

    def load(self, request: LoadRequest) -> LoadReport:
        """Load vocabulary and list of tensors."""
        if importlib.util.find_spec(NAME) is None:
            raise UnavailableError("xllamacpp is not installed", hints=("pip install 'lftool[xllamacpp]'",))
        from lftool_xllamacpp.loading import load  # noqa: PLC0415 - heavy, child processes only

        return load(request)
