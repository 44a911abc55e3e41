"""Rows of proving, comparing and rebuilding: whole commands against the peers that their budgets name."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

from model import write_model
from packing import GIBIBYTE, LFTOOL, ROOT
from quantizing import MEMORY, PEER, timed
from rows import Row

from lftool.testing.file_server import FileServer

if TYPE_CHECKING:
    from pathlib import Path

FASTER, WRONG_FIRST, HASHES, REBUILD, MEBIBYTES = 5, 1.25, 1.3, 1.1, 300
WRONG = "ggml-q/1+fma/clang-x86-64-v3"
HASH = """
import concurrent.futures, hashlib, sys
def digest(name):
    with open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    print(*pool.map(digest, sys.argv[1:]))
"""
EXAMPLE = ROOT / "examples" / "tiny-story"


def _peak(*command: object) -> float:
    """Return the largest memory of a command's processes, in MiB."""
    return int(timed(sys.executable, "-c", MEMORY, *command)[1]) / 1024


def prove_rows(folder: Path, template: Path, rounds: int) -> list[Row]:
    """Prove a Q4_K_M of 1 GiB of F16 weights; each time with nothing remembered about the files."""
    from lftool.api.gguf import FILE_TYPES

    base, made, threads = folder / "base.gguf", folder / "made.gguf", os.cpu_count() or 1
    write_model(base, template, GIBIBYTE)
    peer, ours, wrong = list[float](), list[float](), list[float]()
    command = (LFTOOL, "prove", made, "--base", base, "-q")
    for _ in range(rounds):
        made.unlink(missing_ok=True)
        peer.append(timed(sys.executable, "-c", PEER, base, made, FILE_TYPES["Q4_K_M"], threads, "")[0])
        for times, more in ((ours, ()), (wrong, ("--arithmetic", WRONG))):
            base.touch()  # so that its digest is computed again
            made.touch()
            seconds, said = timed(*command, *more)
            if "identical file" not in said:
                sys.exit(f"not proved: {said}")
            times.append(seconds)
    return [
        Row(
            name="prove a Q4_K_M of a 1 GiB F16 base",
            ours=tuple(ours),
            peer=tuple(peer),
            peer_name=f"llama_model_quantize of the base, {threads} threads",
            budget=1 / FASTER,
            faster=True,
        ),
        Row(
            name="the same, a wrong arithmetic first",
            ours=tuple(wrong),
            peer=tuple(ours),
            peer_name="with the right one",
            budget=WRONG_FIRST,
        ),
        Row(name="peak memory of prove", ours=(_peak(*command),), budget=MEBIBYTES, unit="MiB"),
        _fetched_row(made, base),
        *_diff_rows(folder, base, rounds),
    ]


def _fetched_row(made: Path, base: Path) -> Row:
    """Prove a file on a server against a local base; bytes that came over the network against the file's size."""
    with FileServer(files={"/made.gguf": made.read_bytes()}) as server:
        said = timed(LFTOOL, "prove", f"{server.url}/made.gguf", "--base", base, "--json", "-q")[1]
    found = json.loads(said)
    return Row(
        name="bytes fetched to prove a remote file",
        ours=(found["fetched"] / (1 << 20),),
        peer=(made.stat().st_size / (1 << 20),),
        peer_name="its size",
        unit="MiB",
        budget=1.02,  # the header is read in pieces of 1 MiB
    )


def _diff_rows(folder: Path, base: Path, rounds: int) -> list[Row]:
    """Compare a model with a copy that has one changed tensor, against hashing both."""
    other = folder / "other.gguf"
    shutil.copy(base, other)
    with other.open("r+b") as file:
        file.seek(-(1 << 20), os.SEEK_END)
        file.write(bytes(4096))
    ours, peer = [], []
    for _ in range(rounds):
        peer.append(timed(sys.executable, "-c", HASH, base, other)[0])
        ours.append(timed(LFTOOL, "diff", base, other, "-q")[0])
    memory = _peak(LFTOOL, "diff", base, other, "-q")
    other.unlink()
    return [
        Row(
            name="diff of two models of 1 GiB",
            ours=tuple(ours),
            peer=tuple(peer),
            peer_name="hashing both, two threads",
            budget=HASHES,
        ),
        Row(name="peak memory of diff", ours=(memory,), budget=MEBIBYTES, unit="MiB"),
    ]


def rebuild_row(folder: Path, rounds: int) -> Row:
    """Rebuild tiny-story from safetensors, against building it; each time with an empty cache."""
    project = folder / "story"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("dist"))

    def run(*command: object) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            return timed("env", f"XDG_CACHE_HOME={cache}", *command)[0]

    ours, peer = [], []
    for _ in range(rounds):
        peer.append(run(LFTOOL, "build", "q4", "--no-sign", "--project", project))
        bundle = next((project / "dist").glob("*-q4.llamafile"))
        ours.append(run(LFTOOL, "rebuild", bundle, "--project", project))
    return Row(
        name="rebuild tiny-story from its bundle, empty cache",
        ours=tuple(ours),
        peer=tuple(peer),
        peer_name="lftool build, empty cache",
        budget=REBUILD,
    )
