"""From LLVM assembly to functions that can be called, on the processor of this machine or for another one."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING

import llvmlite
import llvmlite.binding as llvm
from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNATURE = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
)


@frozen(kw_only=True)
class Machine:
    """A processor to compile for.

    Attributes:
        triple: Of LLVM, such as `x86_64-unknown-linux-gnu`.
        cpu: LLVM's name of the processor.
        features: What it can do, as LLVM writes it: `+avx2,-avx512f,…`.
        width: Lanes of a program for it.
        half_precision: Whether it converts binary16 in hardware.
        rounding: Whether it rounds to integers in hardware.
        neighbours: How many neighbours of a point it compares at a time: 8, or 16.
        permutes: Whether it picks from that many numbers in one instruction (AVX2, AVX-512).
    """

    triple: str
    cpu: str
    features: str = field(repr=False)
    width: int
    half_precision: bool
    rounding: bool
    neighbours: int = 8
    permutes: bool = False

    @property
    def key(self) -> str:
        """What decides the machine code, besides the program."""
        return f"llvmlite {llvmlite.__version__}; {self.triple}; {self.cpu}; {self.features}"


@cache
def this_machine() -> Machine:
    """Return the processor that this process runs on."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    triple = llvm.get_process_triple()
    arm = triple.startswith(("aarch64", "arm64"))
    return Machine(
        triple=triple,
        cpu=llvm.get_host_cpu_name(),
        features=features.flatten(),
        width=16 if features.get("avx2") else 8,
        half_precision=arm or bool(features.get("f16c")),
        rounding=arm or bool(features.get("sse4.1")),
        neighbours=16 if features.get("avx512f") else 8,
        permutes=bool(features.get("avx2")),
    )


def _target(machine: Machine) -> llvm.TargetMachine:
    target = llvm.Target.from_triple(machine.triple)
    return target.create_target_machine(cpu=machine.cpu, features=machine.features, opt=1, reloc="pic")


def optimised(assembly: str, machine: Machine, *, briefly: bool = False) -> tuple[llvm.ModuleRef, llvm.TargetMachine]:
    """Return the module after LLVM's own passes; without fast-math flags they change no rounding.

    Args:
        assembly: The program.
        machine: The processor.
        briefly: Only make registers of variables. Code for processors becomes no faster by the other passes, which take a
            third of the time that it takes to compile.
    """
    target = _target(machine)
    module = llvm.parse_assembly(assembly)
    module.triple = machine.triple
    module.data_layout = str(target.target_data)
    module.verify()
    # A chosen few: the whole pipeline unrolls loops that are loops on purpose, which once took two minutes.
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options())
    passes = llvm.create_new_function_pass_manager()
    passes.add_sroa_pass()
    if not briefly:
        passes.add_instruction_combine_pass()
        passes.add_new_gvn_pass()
        passes.add_aggressive_dce_pass()
        passes.add_simplify_cfg_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return module, target


def object_code(assembly: str, machine: Machine) -> bytes:
    """Return an object file of the program for `machine`."""
    module, target = optimised(assembly, machine, briefly=True)
    code: bytes = target.emit_object(module)
    return code


class Loaded:
    """A compiled program in this process; called without holding the interpreter's lock."""

    def __init__(self, code: bytes, name: str) -> None:
        machine = this_machine()
        module = llvm.parse_assembly("")
        module.triple = machine.triple
        self._engine = llvm.create_mcjit_compiler(module, _target(machine))
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self.call: Callable[..., None] = _SIGNATURE(self._engine.get_function_address(name))
