"""Rows of whole builds, in wall time and in CPU time, of a small real model, and of fingerprints."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from confining import RECIPE
from equality import F16
from model import write_model
from packing import GIBIBYTE, LFTOOL, ROOT
from quantizing import GRID_BUDGETS, OURS, PEER, timed, write_importance
from rows import Row

if TYPE_CHECKING:
    from pathlib import Path

WALL, CPU = 6, 7  # how many times faster than llama.cpp's quantiser alone
IQ1_S = 10

FINGERPRINT = """
import sys, tempfile
from pathlib import Path
from lftool.api import InputFile, TransformSpec
from lftool.models.digest import Artifact, Digest
from lftool_strict.quantizer import StrictQuantizer
with tempfile.TemporaryDirectory() as name:
    folder, quantizer = Path(name), StrictQuantizer()
    inputs = {
        role: InputFile(path=path, artifact=Artifact(Digest("0" * 64), path.stat().st_size))
        for role, path in quantizer.probe_inputs(sys.argv[1] + "+imatrix", folder).items()
    }
    quantizer.run(TransformSpec(produces=sys.argv[1]), inputs, folder / "out", 2, lambda *event: None)
"""


def used(*command: object, **settings: object) -> tuple[float, float]:
    """Run a command; return its wall time and its CPU time in seconds, those of its children included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, capture_output=True, **settings)  # type: ignore[call-overload]
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def whole_rows(folder: Path, rounds: int) -> list[Row]:
    """`lftool build --locked` of 0.5 GiB of F16 with an empty cache: fetched, quantised, packed, unsigned."""
    from lftool.api.gguf import FILE_TYPES

    source, cache, threads = folder / "model.gguf", folder / "cache", os.cpu_count() or 1
    write_model(source, ROOT / "examples" / "tiny-story" / "tiny-story-f16.gguf", GIBIBYTE // 2)
    (folder / "lftool.toml").write_text(RECIPE)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"XDG_CACHE_HOME": str(cache), "XDG_CONFIG_HOME": str(folder / "config")}
    for command in (("lock",), ("build", "--no-sign")):  # the first build writes what comes out into the lock
        used(LFTOOL, *command, cwd=folder, env=environment)
    shutil.rmtree(folder / "dist")
    ours, peer = [], []
    for _ in range(max(3, rounds)):
        output = folder / "peer.gguf"
        peer.append(
            used(sys.executable, "-c", PEER, source, output, FILE_TYPES["Q4_K_M"], threads, "", env=environment)
        )
        output.unlink()
        shutil.rmtree(cache)
        ours.append(used(LFTOOL, "build", "--locked", "--no-sign", cwd=folder, env=environment))
        shutil.rmtree(folder / "dist")
    return [
        Row(
            name=f"whole build of 0.5 GiB of F16 to Q4_K_M, {what}",
            note="`lftool build --locked`, empty cache",
            ours=tuple(one[index] for one in ours),
            peer=tuple(one[index] for one in peer),
            peer_name=f"llama_model_quantize alone, {threads} threads",
            budget=1 / faster,
            faster=True,
        )
        for index, (what, faster) in enumerate({"wall time": WALL, "CPU time": CPU}.items())
    ]


def small_row(folder: Path, model: Path, rounds: int) -> Row:
    """SmolLM2-135M to IQ1_S with an importance matrix, whole process; both must make the same file."""
    from lftool.api.gguf import FILE_TYPES

    source, imatrix, threads = folder / "f16.gguf", folder / "imatrix.gguf", os.cpu_count() or 1
    timed(sys.executable, "-c", F16, model, source)
    write_importance(imatrix, source)
    ours, peer = [], []
    for _ in range(max(3, rounds)):
        output, arrays = folder / "out.gguf", imatrix.with_suffix(".npz")
        seconds, theirs = timed(sys.executable, "-c", PEER, source, output, FILE_TYPES["IQ1_S"], threads, arrays)
        peer.append(seconds)
        seconds, made = timed(sys.executable, "-c", OURS, source, output, "IQ1_S", threads, imatrix)
        ours.append(seconds)
        if made != theirs:
            sys.exit(f"IQ1_S of {model.name}: we made sha256 {made}, llama.cpp {theirs}")
    return Row(
        name=f"quantise {model.stem} to IQ1_S, with imatrix",
        ours=tuple(ours),
        peer=tuple(peer),
        peer_name=f"llama_model_quantize, {threads} threads",
        budget=1 / IQ1_S,
        faster=True,
    )


def fingerprint_row(rounds: int) -> Row:
    """The slowest fingerprint of the types below four bits, whole process, nothing remembered."""
    slowest = {
        name: min(timed(sys.executable, "-c", FINGERPRINT, name)[0] for _ in range(rounds)) for name in GRID_BUDGETS
    }
    worst = max(slowest, key=slowest.__getitem__)
    return Row(name="fingerprint of a type below four bits, cold", ours=(slowest[worst],), budget=1, note=worst)
