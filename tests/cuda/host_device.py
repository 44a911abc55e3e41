"""A device that is this processor: it runs the very LLVM code that becomes PTX, kernels included, thread by thread."""

from __future__ import annotations

import ctypes
import re
import threading
from typing import TYPE_CHECKING, Any

import attrs

from lftool_strict.lanes.machine import Loaded, object_code, this_machine

if TYPE_CHECKING:
    from lftool_cuda.kernels import Launch

GROUP = 32
_REGISTERS = ("tid", "ctaid", "ntid")


def for_this_machine(assembly: str) -> str:
    """Return a kernel whose special registers are globals, under this machine's calling convention."""
    text = assembly.replace("define ptx_kernel void", "define void")
    text = re.sub(r'target triple = "[^"]*"', "", text)
    for name in _REGISTERS:
        text = text.replace(f"declare i32 @llvm.nvvm.read.ptx.sreg.{name}.x()", "")
        text = text.replace(f"call i32 @llvm.nvvm.read.ptx.sreg.{name}.x()", f"load i32, i32* @{name}")
    return text + "".join(f"\n@{name} = global i32 0" for name in _REGISTERS)


class HostDevice:
    """What it is asked to load is PTX, which it cannot run: `assembly` gives the code that the PTX was made of."""

    def __init__(self, assembly: dict[str, str]) -> None:
        self._assembly = assembly
        self._lock = threading.Lock()
        self.launches = 0

    def load(self, ptx: str, name: str) -> Any:
        assert f".entry {name}(" in ptx
        machine = attrs.evolve(this_machine(), width=1)
        loaded = Loaded(object_code(for_this_machine(self._assembly[name]), machine), name)
        engine = loaded._engine
        registers = {key: ctypes.c_int32.from_address(engine.get_global_value_address(key)) for key in _REGISTERS}
        kernel = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(
            engine.get_function_address(name)
        )
        return loaded, registers, kernel

    def launch(self, function: Any, what: Launch) -> int:
        _, registers, kernel = function
        flags = ctypes.c_int32(0)
        inputs = [None if span is None else span.address for span in what.inputs]
        with self._lock:
            self.launches += 1
            registers["ntid"].value = GROUP
            for group in range(-(-what.count // GROUP)):
                registers["ctaid"].value = group
                for thread in range(GROUP):
                    registers["tid"].value = thread
                    kernel(*inputs, what.output.address, what.count, what.per_row, ctypes.addressof(flags))
        return flags.value
