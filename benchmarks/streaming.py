"""The row of safetensors to Q4_K_M in one go, against llama.cpp's conversion to a file and its quantiser after it."""

from __future__ import annotations

import os
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_model import write_hf_model
from quantizing import PEER, timed
from rows import Row

if TYPE_CHECKING:
    from lftool.pipeline.ports import Ports

TIMES_FASTER = 6
RECIPE = """
[bundle]
name = "bench"
version = "1"
[sources.base]
uri = "file:model"
[model]
weights = "base"
intermediate = "f16"
[targets.q4]
quantize = "Q4_K_M"
layout = "gguf"
"""


def _forget(ports: Ports, lock: dict[str, Any]) -> None:
    """Have the store forget what was quantised; sources, tools and fingerprints it keeps."""
    from lftool.models.digest import Artifact, Digest

    stage = lock["targets"]["q4"]["quantize"]
    ports.store.actions.forget(Digest(stage["action"]))
    ports.store.blobs.remove(Artifact(Digest(stage["sha256"]), stage["size"]))


def _peer(scripts: Path, model: Path, output: Path, threads: int) -> tuple[float, str]:
    """Convert and quantise with llama.cpp; return seconds and the digest of what came of it."""
    from lftool.api.gguf import FILE_TYPES

    middle = output.with_suffix(".f16")
    script = scripts / "vendor/llama.cpp/convert_hf_to_gguf.py"
    seconds, _ = timed(sys.executable, script, model, "--outtype", "f16", "--outfile", middle)
    more, digest = timed(sys.executable, "-c", PEER, middle, output, FILE_TYPES["Q4_K_M"], threads, "")
    middle.unlink()
    output.unlink()
    return seconds + more, digest


def streaming_row(folder: Path, example: Path, size: int, rounds: int) -> Row:
    """Build from safetensors with `lftool build --locked`; sources are fetched, nothing is converted or quantised yet."""
    from lftool.ops.project import find_project, open_ports

    project_folder, threads = folder / "project", os.cpu_count() or 1
    project_folder.mkdir()
    (project_folder / "lftool.toml").write_text(RECIPE)
    write_hf_model(project_folder / "model", example, size)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    program = Path(sys.executable).with_name("lftool")
    command = [program, "build", "--no-sign", "--project", project_folder]
    timed(program, "lock", "--project", project_folder)
    timed(*command)
    lock = tomllib.loads((project_folder / "lftool.lock").read_text())
    ports = open_ports(find_project(project_folder))
    archive = next(path for path in (folder / "cache").rglob("*") if path.is_file() and zipfile.is_zipfile(path))
    with zipfile.ZipFile(archive) as members:
        members.extractall(folder / "scripts")
    ours, peer = [], []
    for _ in range(rounds):
        seconds, digest = _peer(folder / "scripts", project_folder / "model", folder / "peer.gguf", threads)
        peer.append(seconds)
        if digest != lock["targets"]["q4"]["quantize"]["sha256"]:
            sys.exit(f"llama.cpp made sha256 {digest}, we made {lock['targets']['q4']['quantize']['sha256']}")
        _forget(ports, lock)
        seconds, _ = timed(*command, "--locked")
        ours.append(seconds)
    return Row(
        name=f"safetensors of {size / 2**30:g} GiB to Q4_K_M, `lftool build --locked`",
        ours=tuple(ours),
        peer=tuple(peer),
        peer_name=f"convert_hf_to_gguf.py, then llama_model_quantize, {threads} threads",
        budget=1 / TIMES_FASTER,
        faster=True,
        note="the F16 file is hashed in flight and stored nowhere",
    )
