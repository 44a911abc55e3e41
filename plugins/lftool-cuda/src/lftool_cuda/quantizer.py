"""The quantizer: what `strict` does, with kernels that a GPU runs."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from lftool.api import ToolIdentity, UnavailableError
from lftool_strict.quantizer import StrictQuantizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lftool.api import InputFile, TransformSpec
    from lftool_cuda.kernels import Device

SLAB_WEIGHTS = 1 << 26  # a GPU wants hundreds of thousands of blocks at once; 128 MiB of F16
_THREADS = 2  # one slab is copied while another is computed
_NODE = Path("/dev/nvidiactl")  # where the driver of any NVIDIA GPU listens; asking the driver itself can crash


class CUDAQuantizer(StrictQuantizer):
    """Makes what `llama_model_quantize` makes, byte for byte, on a GPU."""

    def tool(self) -> ToolIdentity:
        """Return the versions of this plugin, of the kernels and of what compiles and loads them.

        Raises:
            UnavailableError: There is no device, or CuPy is not installed.
        """
        if not _NODE.exists():
            raise UnavailableError(f"there is no NVIDIA GPU here: {_NODE} is missing")
        if importlib.util.find_spec("cupy") is None:
            raise UnavailableError("CuPy is not installed", hints=("pip install 'lftool-cuda[cuda13]', or [cuda12]",))
        inner = super().tool()
        return ToolIdentity(version=f"{metadata.version('lftool-cuda')} with strict {inner.version}", files=inner.files)

    def run(
        self,
        spec: TransformSpec,
        inputs: Mapping[str, InputFile],
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Write the quantised weights."""
        from lftool_cuda.device import CuPyDevice  # noqa: PLC0415 - heavy, child processes only

        del threads
        self.run_on(CuPyDevice(), spec, inputs, output, progress)

    def run_on(
        self,
        device: Device,
        spec: TransformSpec,
        inputs: Mapping[str, InputFile],
        output: Path,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Write the quantised weights with the kernels of a device."""
        from lftool_cuda.kernels import DeviceKernels  # noqa: PLC0415 - heavy, child processes only

        self.quantise(spec, inputs, output, _THREADS, progress, DeviceKernels(device), SLAB_WEIGHTS)
