"""Rows of quantising: our kernels against `llama_model_quantize`, file in, file out, hashed, the same threads."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from model import write_model
from rows import Row

if TYPE_CHECKING:
    from pathlib import Path

GIBIBYTE = 1024**3
# File type to how many times faster than llama.cpp it must be.
BUDGETS = {"Q4_K_M": 6, "Q5_K_M": 6, "Q6_K": 5, "IQ4_XS": 6, "Q8_0": 2, "Q4_0": 2}

# The same, with an importance matrix: types that are made of points of a grid.
GRID_BUDGETS = {"IQ2_XXS": 9.5, "IQ2_XS": 10, "IQ2_S": 10, "IQ3_XXS": 9.5, "IQ3_S": 10, "IQ1_S": 6, "IQ1_M": 6}

PEER = """
import ctypes, hashlib, sys
import llama_cpp
import numpy
source, output, number, threads, importance = sys.argv[1:]
quiet = llama_cpp.llama_log_callback(lambda level, text, user: None)
llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
parameters = llama_cpp.llama_model_quantize_default_params()
parameters.ftype, parameters.nthread = int(number), int(threads)
if importance:
    found = dict(numpy.load(importance))
    entries = (llama_cpp.llama_model_imatrix_data * (len(found) + 1))()
    for entry, (name, values) in zip(entries, found.items()):
        entry.name, entry.size = name.encode(), len(values)
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    parameters.imatrix = entries
assert llama_cpp.llama_model_quantize(source.encode(), output.encode(), ctypes.byref(parameters)) == 0
print(hashlib.file_digest(open(output, "rb"), "sha256").hexdigest())
"""

OURS = """
import hashlib, os, sys
from pathlib import Path
from lftool.api import InputFile, TransformSpec
from lftool.models.digest import Artifact, Digest
from lftool_strict.quantizer import StrictQuantizer
source, output, file_type, threads, imatrix = sys.argv[1:]
inputs = {
    role: InputFile(path=Path(name), artifact=Artifact(Digest("0" * 64), os.path.getsize(name)))
    for role, name in (("weights", source), ("imatrix", imatrix))
    if name
}
StrictQuantizer().run(TransformSpec(produces=file_type), inputs, Path(output), int(threads), lambda *event: None)
print(hashlib.file_digest(open(output, "rb"), "sha256").hexdigest())
"""

CHOOSE_PEER = """
import ctypes, sys
import llama_cpp
quiet = llama_cpp.llama_log_callback(lambda level, text, user: None)
llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
parameters = llama_cpp.llama_model_quantize_default_params()
parameters.ftype, parameters.dry_run = 15, True
assert llama_cpp.llama_model_quantize(sys.argv[1].encode(), b"never written", ctypes.byref(parameters)) == 0
"""

CHOOSE = """
import os, sys
from lftool.api.gguf import read_gguf
from lftool_strict.mixture.choose import Request, choose
from lftool_strict.mixture.model import model_of
with open(sys.argv[1], "rb") as file:
    header = read_gguf(file, os.path.getsize(sys.argv[1]), "the weights")
    choose(model_of(file, header), header.tensors, Request(file_type="Q4_K_M"))
"""

# The floor: the same bytes read and written, on as many threads, and hashed; nothing computed.
FLOOR = """
import hashlib, os, sys, threading
source, output, size, threads = sys.argv[1:]
size, threads, total = int(size), int(threads), os.path.getsize(source)
read, written = os.open(source, os.O_RDONLY), os.open(output, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
os.truncate(output, size)
def work(part):
    piece = 2 * 1024 * 1024
    buffer = memoryview(bytearray(piece))
    for start in range(part * piece, total, threads * piece):
        got = os.preadv(read, [buffer], start)
        os.pwrite(written, buffer[: got * size // total], start * size // total)
workers = [threading.Thread(target=work, args=(part,)) for part in range(threads)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
hashlib.file_digest(open(output, "rb"), "sha256").hexdigest()
"""

MEMORY = (
    "import resource,subprocess,sys;subprocess.run(sys.argv[1:],check=True,capture_output=True);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def timed(*command: object) -> tuple[float, str]:
    """Run a command; return seconds and what it printed."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run([str(part) for part in command], env=env, check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout.strip()


def write_importance(path: Path, source: Path) -> None:
    """Write an importance matrix for all matrices of a model: other numbers for every column, the same every time.

    It is a GGUF, and for the peer an archive of NumPy beside it.
    """
    from lftool.api.gguf import TensorData, read_gguf, write_gguf

    with source.open("rb") as file:
        header = read_gguf(file, source.stat().st_size, source.name)
    tensors, found = [], {}
    dice = np.random.default_rng(0)
    for tensor in header.tensors:
        if len(tensor.dimensions) > 1:
            columns = tensor.dimensions[0]
            found[tensor.name] = (dice.exponential(size=columns) + 1e-3).astype(np.float32)
            sums = found[tensor.name].tobytes()
            tensors.append(TensorData(name=f"{tensor.name}.in_sum2", dimensions=(columns, 1), type="F32", data=sums))
            counts = struct.pack("<f", 1.0)
            tensors.append(TensorData(name=f"{tensor.name}.counts", dimensions=(1, 1), type="F32", data=counts))
    with path.open("wb") as out:
        write_gguf(out, {"general.type": "imatrix"}, tensors)
    np.savez(path.with_suffix(".npz"), **found)  # type: ignore[arg-type]  # its stub means another keyword


def _row(
    folder: Path, source: Path, imatrix: Path | None, file_type: str, faster: float, rounds: int, name: str
) -> Row:
    """Quantise with both, alternately; both must make the same file."""
    from lftool.api.gguf import FILE_TYPES

    threads, matrix, arrays = os.cpu_count() or 1, imatrix or "", imatrix.with_suffix(".npz") if imatrix else ""
    ours_path, peer_path = folder / "ours.gguf", folder / "peer.gguf"
    ours, peer, floor = [], [], []
    for _ in range(rounds):
        seconds, theirs = timed(sys.executable, "-c", PEER, source, peer_path, FILE_TYPES[file_type], threads, arrays)
        peer.append(seconds)
        size = peer_path.stat().st_size
        peer_path.unlink()
        seconds, made = timed(sys.executable, "-c", OURS, source, ours_path, file_type, threads, matrix)
        ours.append(seconds)
        ours_path.unlink()
        if made != theirs:
            sys.exit(f"{file_type}: we made sha256 {made}, llama.cpp {theirs}")
        floor.append(timed(sys.executable, "-c", FLOOR, source, ours_path, size, threads)[0])
        ours_path.unlink()
    return Row(
        name=name,
        ours=tuple(ours),
        peer=tuple(peer),
        peer_name=f"llama_model_quantize, {threads} threads",
        budget=1 / faster,
        faster=True,
        note=f"reading, writing and hashing alone: {sorted(floor)[len(floor) // 2]:.2f} s",
    )


def grid_rows(folder: Path, template: Path, rounds: int) -> list[Row]:
    """Quantise 512 MiB of F16 weights to the types below four bits, with an importance matrix."""
    source, imatrix = folder / "small.gguf", folder / "small.imatrix.gguf"
    write_model(source, template, GIBIBYTE // 2)
    write_importance(imatrix, source)
    rows = [
        _row(
            folder, source, imatrix, file_type, faster, rounds, f"quantise 512 MiB of F16 to {file_type}, with imatrix"
        )
        for file_type, faster in GRID_BUDGETS.items()
    ]
    many = folder / "many.gguf"
    write_model(many, template, GIBIBYTE // 7, width=256, feed_forward=512)
    ours, peer = [], []
    for _ in range(3 * max(3, rounds)):
        peer.append(timed(sys.executable, "-c", CHOOSE_PEER, many)[0])
        ours.append(timed(sys.executable, "-c", CHOOSE, many)[0])
    chosen = Row(
        name="choose the types of a model of 1,000 tensors, whole process",
        ours=tuple(ours),
        peer=tuple(peer),
        peer_name="llama_model_quantize(dry_run)",
        budget=0.3,
    )
    return [*rows, chosen]


def quantize_rows(folder: Path, template: Path, rounds: int) -> list[Row]:
    """Quantise 1 GiB of F16 weights to every file type of the budgets."""
    source = folder / "weights.gguf"
    write_model(source, template, GIBIBYTE)
    rows = [
        _row(folder, source, None, file_type, faster, rounds, f"quantise 1 GiB of F16 to {file_type}")
        for file_type, faster in BUDGETS.items()
    ]
    threads = os.cpu_count() or 1
    memory = [
        int(
            timed(
                sys.executable,
                "-c",
                MEMORY,
                sys.executable,
                "-c",
                OURS,
                source,
                folder / "ours.gguf",
                name,
                threads,
                "",
            )[1]
        )
        / 1024
        for name in BUDGETS
    ]
    rows.append(Row(name="peak memory of quantising", ours=(max(memory),), budget=512, unit="MiB"))
    return [*rows, *grid_rows(folder, template, min(2, rounds))]
