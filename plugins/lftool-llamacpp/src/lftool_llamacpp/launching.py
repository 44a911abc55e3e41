"""The process that runs a bundle on a backend: the native runtime where there is one, else llama-cpp-python.

The flags are the same for both: those of the native runtime (native/options.cpp) and of runtime python/1 agree.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from lftool.api import LaunchCommand, UnavailableError
from lftool_llamacpp.flavours import REQUESTS
from lftool_llamacpp.offload import fit, sentence

if TYPE_CHECKING:
    from lftool.api import LaunchRequest, Probe, ServeOptions

SERVER = "lftool_llamacpp.server"


def command(request: LaunchRequest, flags: tuple[str, ...], where: str) -> LaunchCommand:
    """Return the process.

    Args:
        request: What to run.
        flags: Options for the devices.
        where: What runs where, for people.
    """
    serve = request.serve
    asked = () if serve is None else server_arguments(serve)
    if request.executable is not None:
        server = () if serve is None else ("--server",)
        argv = (str(request.executable), "--bundle", request.bundle, *server, *asked, *flags)
        return LaunchCommand(argv=argv, sentence=f"{where}; native runtime")
    if importlib.util.find_spec("llama_cpp") is None:
        raise UnavailableError(
            "neither llama-cpp-python nor a native runtime is installed",
            hints=(
                "install a ready-made engine: pip install 'lftool[xllamacpp]'",
                "or llama-cpp-python, which is compiled: pip install 'lftool[cpu]'",
                "or compile a runtime: lftool runtime build",
                "or start the bundle itself",
            ),
        )
    script = str(request.runner)
    runner = (script, request.bundle) if serve is None else ("-m", SERVER, script, request.bundle, *asked)
    return LaunchCommand(argv=(sys.executable, "-I", *runner, *flags), sentence=f"{where}; llama-cpp-python")


def server_arguments(serve: ServeOptions) -> tuple[str, ...]:
    """Return the arguments that servers take: the native one and those in Python."""
    asked: tuple[str, ...] = ("--host", serve.host, "--port", str(serve.port))
    if serve.insecure:
        asked = (*asked, "--insecure")
    return (*asked, "--embeddings") if serve.embeddings else asked


def accelerated(request: LaunchRequest, backend: str, *, shared: bool = True) -> LaunchCommand:
    """Return the process that runs a bundle on the devices of a probe.

    Args:
        request: What to run.
        backend: Whose devices they are.
        shared: Whether llama.cpp counts the devices in the order of the probe, so that each can be given its share.

    Raises:
        UnavailableError: There is no device, or nothing installed that can compute on it.
    """
    probe = require_device(request.probe, backend)
    if request.executable is None and not probe.library:
        raise UnavailableError(
            f"backend {backend}: a device is available, but the installed llama-cpp-python cannot use it",
            hints=(
                f"compile a runtime that can: lftool runtime build --backend {backend}",
                "or use the processor: --backend cpu",
            ),
        )
    served = request.serve is not None and request.executable is not None
    placed = fit(request.size.served(REQUESTS) if served else request.size, probe.devices)
    flags: tuple[str, ...] = ("--gpu-layers", str(placed.layers), "--flash-attention", "auto", "--require-device")
    if placed.split and shared:
        flags = (*flags, "--tensor-split", ",".join(map(str, placed.split)))
    return command(request, flags, sentence(placed, probe.devices))


def require_device(probe: Probe | None, backend: str) -> Probe:
    """Return the probe if it found a device.

    Raises:
        UnavailableError: It did not.
    """
    if probe is None or not probe.available:
        reason = "it was not probed" if probe is None else probe.reason
        raise UnavailableError(
            f"backend {backend} cannot be used here: {reason}",
            hints=("use an available backend: --backend auto", "or the processor: --backend cpu"),
        )
    return probe


def library_offloads() -> bool:
    """Return whether the installed llama-cpp-python was built for a device of some kind; imports it."""
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError):
        return False
    return bool(llama_cpp.llama_supports_gpu_offload())
