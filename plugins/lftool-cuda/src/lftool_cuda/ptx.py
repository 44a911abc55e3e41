"""The programs of `strict` as PTX: one lane wide, and a kernel around each that gives every thread one block.

PTX rounds every operation by itself: `add.rn`, `mul.rn`, `div.rn`, `sqrt.rn`, no `fma`, subnormals kept. LLVM fuses or
approximates nothing without fast-math flags, and there are none (llvm/docs/NVPTXUsage.rst; the tests look).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import llvmlite.binding as llvm

from lftool_strict.compiled import SIGMA, assembly
from lftool_strict.kernels.block import program_name
from lftool_strict.kernels.registry import FLOATS
from lftool_strict.lanes.machine import Machine, optimised
from lftool_strict.lanes.tiles import SOURCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

# The oldest processor of the oldest toolkit that still gets releases; newer ones compile the same PTX at load time.
MACHINE = Machine(
    triple="nvptx64-nvidia-cuda", cpu="sm_75", features="+ptx64", width=1, half_precision=False, rounding=False
)

_KERNEL = """
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ntid.x()

define ptx_kernel void @{name}_kernel(i8* %source, float* %importance, float* %sigma, i8* %output, i64 %count, \
i64 %per_row, i32* %flags) {{
  %found = alloca i32
  store i32 0, i32* %found
  %tid = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %group = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %size = call i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
  %tid64 = zext i32 %tid to i64
  %group64 = zext i32 %group to i64
  %size64 = zext i32 %size to i64
  %start = mul i64 %group64, %size64
  %index = add i64 %start, %tid64
  %inside = icmp ult i64 %index, %count
  br i1 %inside, label %work, label %done
work:
  %skipped = mul i64 %index, {source_step}
  %from = getelementptr i8, i8* %source, i64 %skipped
  %written = mul i64 %index, {output_step}
  %to = getelementptr i8, i8* %output, i64 %written
  %begin = mul i64 %index, {block_step}
  %end = add i64 %begin, 1
  call void @{name}(i8* %from, float* %importance, float* %sigma, i8* %to, i64 %begin, i64 %end, i64 %per_row, i32* %found)
  %what = load i32, i32* %found
  %any = icmp ne i32 %what, 0
  br i1 %any, label %report, label %done
report:
  %before = atomicrmw or i32* %flags, i32 %what monotonic
  br label %done
done:
  ret void
}}
"""
_FLOAT_BYTES: Mapping[str, int] = {"F32": 4, "F16": 2, "BF16": 2}


@cache
def _targets() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def kernel_assembly(name: str, kind: str, *, important: bool = False, exact: bool = False) -> str:
    """Return the LLVM assembly of a program and the kernel around it, called `<program>_kernel`; see `assembly`.

    Its parameters: weights, importance and sigma (null where there is none), output, number of blocks, blocks a row, and
    where to add flags. Of `SIGMA`, a block is a row; of the types that stay floats, a weight.
    """
    text = assembly(name, kind, MACHINE, important=important, exact=exact)
    # Those programs begin at the first weight whatever they are told.
    steps = (SOURCE_BYTES[kind], _FLOAT_BYTES[name], 0) if name in FLOATS and name != SIGMA else (0, 0, 1)
    full = program_name(name, kind, important=important, exact=exact)
    kernel = _KERNEL.format(name=full, source_step=steps[0], output_step=steps[1], block_step=steps[2])
    return text.replace('target triple = "unknown-unknown-unknown"', f'target triple = "{MACHINE.triple}"') + kernel


def kernel_ptx(name: str, kind: str, *, important: bool = False, exact: bool = False) -> str:
    """Return the PTX of a kernel; see `kernel_assembly`."""
    _targets()
    module, target = optimised(kernel_assembly(name, kind, important=important, exact=exact), MACHINE)
    ptx: str = target.emit_assembly(module)
    return ptx
