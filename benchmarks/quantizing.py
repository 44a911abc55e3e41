"""Rows of quantising: our kernels against `llama_model_quantize`, file in, file out, hashed, the same threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from model import write_model
from rows import Row

if TYPE_CHECKING:
    from pathlib import Path

GIBIBYTE = 1024**3
# File type to how many times faster than llama.cpp it must be.
BUDGETS = {"Q4_K_M": 6, "Q5_K_M": 6, "Q6_K": 5, "IQ4_XS": 6, "Q8_0": 2, "Q4_0": 2}

PEER = """
import ctypes, hashlib, sys
import llama_cpp
source, output, number, threads = sys.argv[1:]
quiet = llama_cpp.llama_log_callback(lambda level, text, user: None)
llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
parameters = llama_cpp.llama_model_quantize_default_params()
parameters.ftype, parameters.nthread = int(number), int(threads)
assert llama_cpp.llama_model_quantize(source.encode(), output.encode(), ctypes.byref(parameters)) == 0
print(hashlib.file_digest(open(output, "rb"), "sha256").hexdigest())
"""

OURS = """
import hashlib, json, os, sys
from pathlib import Path
from lftool.api import InputFile, TensorType, TransformSpec
from lftool.models.digest import Artifact, Digest
from lftool_strict.quantizer import StrictQuantizer
source, output, file_type, threads, types = sys.argv[1:]
chosen = tuple(TensorType(tensor=tensor, type=kind) for tensor, kind in json.loads(Path(types).read_text()))
size = Path(source).stat().st_size
inputs = {"weights": InputFile(path=Path(source), artifact=Artifact(Digest("0" * 64), size))}
spec = TransformSpec(produces=file_type, types=chosen)
StrictQuantizer().run(spec, inputs, Path(output), int(threads), lambda *event: None)
print(hashlib.file_digest(open(output, "rb"), "sha256").hexdigest())
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


def quantize_rows(folder: Path, template: Path, rounds: int) -> list[Row]:
    """Quantise 1 GiB of F16 weights to every file type of the budgets; both must make the same file."""
    from lftool.api import InputFile, TransformSpec
    from lftool.api.gguf import FILE_TYPES
    from lftool.models.digest import Artifact, Digest
    from lftool_llamacpp.quantizer import LlamaCppQuantizer

    source, ours_path, peer_path = folder / "weights.gguf", folder / "ours.gguf", folder / "peer.gguf"
    write_model(source, template, GIBIBYTE)
    inputs = {"weights": InputFile(path=source, artifact=Artifact(Digest("0" * 64), source.stat().st_size))}
    threads, rows = os.cpu_count() or 1, []
    memory: list[float] = []
    for file_type, faster in BUDGETS.items():
        types = LlamaCppQuantizer().plan(TransformSpec(produces=file_type), inputs).tensors
        table = folder / "types.json"
        table.write_text(json.dumps([[item.tensor, item.type] for item in types]))
        command = [sys.executable, "-c", OURS, source, ours_path, file_type, threads, table]
        ours, peer, floor = [], [], []
        for _ in range(rounds):
            seconds, theirs = timed(sys.executable, "-c", PEER, source, peer_path, FILE_TYPES[file_type], threads)
            peer.append(seconds)
            size = peer_path.stat().st_size
            peer_path.unlink()
            seconds, made = timed(*command)
            ours.append(seconds)
            ours_path.unlink()
            if made != theirs:
                sys.exit(f"{file_type}: we made sha256 {made}, llama.cpp {theirs}")
            floor.append(timed(sys.executable, "-c", FLOOR, source, ours_path, size, threads)[0])
            ours_path.unlink()
        memory.append(int(timed(sys.executable, "-c", MEMORY, *command)[1]) / 1024)
        rows.append(
            Row(
                name=f"quantise 1 GiB of F16 to {file_type}",
                ours=tuple(ours),
                peer=tuple(peer),
                peer_name=f"llama_model_quantize, {threads} threads",
                budget=1 / faster,
                faster=True,
                note=f"reading, writing and hashing alone: {sorted(floor)[len(floor) // 2]:.2f} s",
            )
        )
    rows.append(Row(name="peak memory of quantising", ours=(max(memory),), budget=512, unit="MiB"))
    return rows
