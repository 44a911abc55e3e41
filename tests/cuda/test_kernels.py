"""The CUDA quantizer, as far as a machine without a GPU can tell: its code, run on this processor, and its PTX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.cuda.host_device import HostDevice
from tests.plugins.conftest import NEED_IMPORTANCE, input_files

import lftool_cuda.kernels
from lftool.api import TransformSpec
from lftool.api.gguf import write_probe_imatrix, write_probe_model
from lftool.testing import tiny_gguf
from lftool_cuda.ptx import kernel_assembly, kernel_ptx
from lftool_cuda.quantizer import CUDAQuantizer
from lftool_strict.compiled import SIGMA
from lftool_strict.kernels.block import program_name
from lftool_strict.kernels.registry import FLOATS, KERNELS
from lftool_strict.quantizer import OFFERED, StrictQuantizer

NOTHING_FUSED = re.compile(r"\bfma\b|\.ftz|\.approx|\.full\b|(add|sub|mul|div|sqrt)\.f32")
PTXAS = shutil.which("ptxas") or next((str(path) for path in Path("/usr/local").glob("cuda*/bin/ptxas")), None)
VARIANTS = [
    (name, kind, important, exact)
    for name, kernel in KERNELS.items()
    for kind in ("F32", "F16", "BF16")
    for important in sorted({not kernel.plain, kernel.importance})
    for exact in (False, True)
]
# llama.cpp does not make these without an importance matrix.
QUICK = {  # most types of blocks, with an importance matrix and without
    *((name, True) for name in ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_S", "IQ4_NL", "IQ4_XS")),
    *((name, False) for name in ("Q4_0", "Q5_1", "Q8_0", "Q6_K", "F16")),
}


@pytest.fixture
def on_this_processor(monkeypatch):
    """A device that runs what the PTX was made of."""
    assembly = {}

    def made(name, kind, **variant):
        full = program_name(name, kind, **{"important": False, "exact": False, **variant})
        assembly[f"{full}_kernel"] = kernel_assembly(name, kind, **variant)
        return kernel_ptx(name, kind, **variant)

    monkeypatch.setattr(lftool_cuda.kernels, "kernel_ptx", made)
    return HostDevice(assembly)


def both(device, inputs, produces, folder, **options) -> tuple[bytes, bytes]:
    """What the CUDA quantizer makes, and what `strict` makes."""
    files = input_files(inputs)
    spec = TransformSpec(produces=produces, **options)
    CUDAQuantizer().run_on(device, spec, files, folder / "cuda.gguf", lambda *_: None)
    StrictQuantizer().run(spec, files, folder / "strict.gguf", 2, lambda *_: None)
    return (folder / "cuda.gguf").read_bytes(), (folder / "strict.gguf").read_bytes()


@pytest.mark.slow_cases(r"\[(?!Q4_K_M|IQ4_XS|Q6_K)")
@pytest.mark.parametrize(
    ("produces", "imatrix"),
    [
        pytest.param(name, imatrix, marks=() if (name, imatrix) in QUICK else pytest.mark.slow)
        for name in sorted(OFFERED)
        for imatrix in (False, True)
    ],
)
def test_every_file_type_has_the_bytes_of_strict(on_this_processor, tmp_path, produces, imatrix) -> None:
    inputs = {"weights": tmp_path / "weights.gguf"}
    write_probe_model(inputs["weights"])
    if imatrix or produces in NEED_IMPORTANCE:
        inputs["imatrix"] = tmp_path / "imatrix.gguf"
        write_probe_imatrix(inputs["imatrix"])
    made, expected = both(on_this_processor, inputs, produces, tmp_path)
    assert made == expected
    assert on_this_processor.launches


@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_a_whole_model_has_the_bytes_of_strict(on_this_processor, tmp_path, kind) -> None:
    weights = tiny_gguf(tmp_path / "model.gguf", kind=kind)
    made, expected = both(on_this_processor, {"weights": weights}, "Q4_K_M", tmp_path)
    assert made == expected


@pytest.mark.slow_cases(r"\[(?!Q4_K|Q6_K|Q8_0)")
@pytest.mark.parametrize(
    ("name", "kind", "important", "exact"),
    [
        pytest.param(*variant, marks=() if variant[1] == "F16" and not variant[3] else pytest.mark.slow)
        for variant in VARIANTS
    ],
)
def test_every_operation_of_the_ptx_is_rounded_by_itself(name, kind, important, exact) -> None:
    ptx = kernel_ptx(name, kind, important=important, exact=exact)
    assert not NOTHING_FUSED.search(ptx)
    assert ".target sm_75" in ptx
    assert f".entry {program_name(name, kind, important=important, exact=exact)}_kernel(" in ptx


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("name", [*FLOATS, SIGMA])
def test_floats_and_sums_are_rounded_one_by_one(name, kind) -> None:
    assert not NOTHING_FUSED.search(kernel_ptx(name, kind))


@pytest.mark.slow_cases(r"\[(?!Q4_K|Q6_K|Q8_0)")
@pytest.mark.skipif(PTXAS is None, reason="NVIDIA's assembler, ptxas, is not on this machine")
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_nvidia_s_assembler_takes_the_ptx(tmp_path, name) -> None:
    path = tmp_path / "kernel.ptx"
    path.write_text(kernel_ptx(name, "F16", important=KERNELS[name].importance))
    command = [PTXAS, "-arch=sm_90", "-O1", "--warn-on-spills", path, "-o", tmp_path / "kernel.cubin"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="there is no NVIDIA GPU here")
@pytest.mark.parametrize("produces", sorted(OFFERED))
def test_on_a_gpu_every_file_type_has_the_bytes_of_strict(tmp_path, produces) -> None:
    from lftool_cuda.device import CuPyDevice

    inputs = {"weights": tmp_path / "weights.gguf", "imatrix": tmp_path / "imatrix.gguf"}
    write_probe_model(inputs["weights"])
    write_probe_imatrix(inputs["imatrix"])
    made, expected = both(CuPyDevice(), inputs, produces, tmp_path)
    assert made == expected
