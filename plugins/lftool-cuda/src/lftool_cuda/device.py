"""The first NVIDIA GPU, through CuPy."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cupy  # noqa: TID253 - this module is only imported in child processes, where there is a device

from lftool.api import UnavailableError

if TYPE_CHECKING:
    from lftool_cuda.kernels import Launch

_GROUP = 128  # threads: a multiple of a warp, few enough for the registers and stack of any kernel


class CuPyDevice:
    """Each launch has a stream of its own, so that copies of one thread overlap with work of another."""

    def __init__(self) -> None:
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise UnavailableError(f"cannot get a device from the NVIDIA driver: {error}") from None
        if not count:
            raise UnavailableError("the NVIDIA driver has no device")

    def load(self, ptx: str, name: str) -> Any:  # noqa: ANN401 - CuPy's
        """Return a function of a program; the driver compiles it for its device."""
        path = Path(f"{name}.ptx").absolute()  # in the scratch folder that this process works in
        path.write_text(ptx)
        return cupy.RawModule(path=str(path)).get_function(name)

    def launch(self, function: Any, what: Launch) -> int:  # noqa: ANN401 - CuPy's
        """Copy the inputs over, run the function, copy the output back, and return the flags that it reported."""
        with cupy.cuda.Device(0), cupy.cuda.Stream(non_blocking=True) as stream:
            placed = []  # kept until the stream is done
            for span in what.inputs:
                memory = None if span is None else cupy.cuda.alloc(span.size)
                if span is not None and memory is not None:
                    memory.copy_from_host_async(ctypes.c_void_p(span.address), span.size, stream)
                placed.append(memory)
            output, flags, found = cupy.cuda.alloc(what.output.size), cupy.cuda.alloc(4), ctypes.c_int32(0)
            flags.memset_async(0, 4, stream)
            addresses = [0 if memory is None else memory.ptr for memory in placed]
            arguments = (
                *addresses,
                output.ptr,
                what.count,
                what.per_row,
                flags.ptr,
            )  # eight bytes each, as Python's integers go
            function((-(-what.count // _GROUP),), (_GROUP,), arguments)
            output.copy_to_host_async(ctypes.c_void_p(what.output.address), what.output.size, stream)
            flags.copy_to_host_async(ctypes.c_void_p(ctypes.addressof(found)), 4, stream)
            stream.synchronize()
            return found.value
