"""The same bits from machine code for other processors: older ones here, and aarch64 under emulation."""

from __future__ import annotations

import shutil
import subprocess

import attrs
import numpy as np
import pytest
from tests.strict.conftest import FAMILIES, MADE, Calls, importance

from lftool_strict.compiled import SIGMA, assembly
from lftool_strict.kernels.block import program_name
from lftool_strict.kernels.neighbours import tables
from lftool_strict.kernels.registry import KERNELS
from lftool_strict.lanes.machine import Machine, object_code, optimised, this_machine

# What x86-64 processors have in common, step by step; a later machine executes the code of an earlier one.
OLDER = {
    "x86-64": {
        "cpu": "x86-64",
        "width": 8,
        "half_precision": False,
        "rounding": False,
        "neighbours": 8,
        "permutes": False,
    },
    "nehalem": {
        "cpu": "nehalem",
        "width": 8,
        "half_precision": False,
        "rounding": True,
        "neighbours": 8,
        "permutes": False,
    },
    "haswell": {
        "cpu": "haswell",
        "width": 16,
        "half_precision": True,
        "rounding": True,
        "neighbours": 8,
        "permutes": True,
    },
    "haswell, 8 lanes": {
        "cpu": "haswell",
        "width": 8,
        "half_precision": True,
        "rounding": True,
        "neighbours": 8,
        "permutes": True,
    },
}
SLOW = {"nehalem", "haswell, 8 lanes"}
ARM = Machine(
    triple="aarch64-unknown-linux-gnu", cpu="generic", features="", width=8, half_precision=True, rounding=True
)


def _weights() -> np.ndarray:
    return np.concatenate([make(4) for name, make in FAMILIES.items() if name != "subnormal"])


# One file type of each family stays: kernels are compared block by block in test_kernels.py.
@pytest.mark.slow_cases(r"\[(x86-64|haswell)-(?!Q4_K|IQ4_NL|Q8_0)")
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    "older", [pytest.param(OLDER[key], id=key, marks=[pytest.mark.slow] if key in SLOW else []) for key in OLDER]
)
def test_code_for_an_older_processor_makes_the_same_blocks(calls, older, name):
    if not this_machine().triple.startswith("x86_64"):
        pytest.skip("needs an x86-64 processor")
    if older["cpu"] == "haswell" and "+avx2" not in this_machine().features:
        pytest.skip("needs a processor with AVX2")
    machine = attrs.evolve(this_machine(), features="", **older)
    there, weights, matters = Calls(machine=machine), _weights(), importance()
    half = weights.astype(np.float16)
    assert there.quantised(name, weights, matters) == calls.quantised(name, weights, matters)
    if KERNELS[name].plain:
        assert there.quantised(name, weights) == calls.quantised(name, weights)
        assert there.blocks(name, half, kind="F16") == calls.blocks(name, half, kind="F16")


@pytest.mark.slow
@pytest.mark.parametrize("triple", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])
def test_no_instruction_multiplies_and_adds_at_once(triple):
    """A fused multiply-add rounds once where two roundings are the rule; both processors have it."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = ARM if triple.startswith("aarch64") else attrs.evolve(ARM, triple=triple, cpu="znver4", width=16)
    for name, kernel in KERNELS.items():
        module, target = optimised(assembly(name, "F16", machine, important=kernel.importance), machine)
        text = target.emit_assembly(module)
        assert [word for word in ("fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub") if word in text] == []


_DRIVER = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void kernel(const void *, const float *, const float *, uint8_t *, int64_t, int64_t, int64_t, int32_t *);
#define K(name) extern kernel name;
#include "kernels.h"
#undef K
#define K(name) {#name, name},
static const struct { const char *name; kernel *call; } kernels[] = {
#include "kernels.h"
{0, 0}};

static void *contents(const char *path) {
    if (!strcmp(path, "-")) return 0;
    FILE *file = fopen(path, "rb");
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    void *data = malloc(size);
    if (fread(data, 1, size, file) != (size_t) size) exit(3);
    return data;
}

/* name weights importance sigma output bytes blocks per_row */
int main(int count, char **words) {
    for (int i = 0; count == 9 && kernels[i].name; i++) {
        if (strcmp(kernels[i].name, words[1])) continue;
        int32_t flags = 0;
        long bytes = atol(words[6]);
        uint8_t *out = calloc(1, bytes);
        kernels[i].call(contents(words[2]), contents(words[3]), contents(words[4]), out, 0, atol(words[7]), atol(words[8]), &flags);
        FILE *file = fopen(words[5], "wb");
        fwrite(out, 1, bytes, file);
        fclose(file);
        printf("%d", flags);
        return 0;
    }
    return 4;
}
"""


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """Kernels compiled for aarch64, linked by its own linker, and run by qemu."""
    tools = {"qemu-aarch64": "qemu-user", "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu"}
    missing = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}: apt-get install {' '.join(missing)}")
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    folder = tmp_path_factory.mktemp("aarch64")
    wanted = [(SIGMA, False, False)]
    wanted += [
        (name, important, exact)
        for name, kernel in KERNELS.items()
        for important in sorted({not kernel.plain, kernel.importance})
        for exact in (False, True)
    ]
    names = []
    for name, important, exact in wanted:
        text = assembly(name, "F32", ARM, important=important, exact=exact)
        names.append(program_name(name, "F32", important=important, exact=exact))
        (folder / f"{names[-1]}.o").write_bytes(object_code(text, ARM))
    (folder / "driver.c").write_text(_DRIVER)
    (folder / "kernels.h").write_text("".join(f"K({name})\n" for name in names))
    command = ["aarch64-linux-gnu-gcc", "-O1", "-static", "-o", "driver", "driver.c", *(f"{name}.o" for name in names)]
    subprocess.run([*command, "-lm"], cwd=folder, check=True)

    def call(name: str, weights: np.ndarray, matters: np.ndarray | None, *, exact: bool) -> tuple[bytes, int]:
        kernel = KERNELS[name]
        rows, columns = weights.shape
        important = matters is not None and kernel.importance
        weights.tofile(folder / "weights")

        def run(full: str, *rest: object) -> int:
            done = subprocess.run(
                ["qemu-aarch64", "./driver", full, "weights", *map(str, rest)],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
            )
            return int(done.stdout)

        if important:
            matters.tofile(folder / "importance")
            run(f"{SIGMA}_F32", "-", "-", "sigma", 4 * rows, rows, columns)
        full = program_name(name, "F32", important=important, exact=exact)
        given = ("importance", "sigma") if important else ("-", "-")
        if kernel.grid is not None:
            (folder / "sigma").write_bytes(bytes(tables(kernel.grid).values))
            given = (given[0], "sigma")
        blocks = weights.size // kernel.elements
        flags = run(full, *given, "out", blocks * kernel.size, blocks, columns // kernel.elements)
        return (folder / "out").read_bytes(), flags

    return call


@pytest.mark.slow
@pytest.mark.parametrize(("name", "matters"), MADE)
def test_aarch64_makes_the_same_blocks(emulated, calls, name, matters):
    given_importance = importance() if matters else None
    for exact in (False, True):
        weights = _weights()
        expected = calls.blocks(name, weights, given_importance, exact=exact)
        assert emulated(name, weights, given_importance, exact=exact) == expected
