"""What confining the processes that work on model files costs: the same command with `[plugins] confine = false`, alternated."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from model import write_model
from packing import GIBIBYTE, LFTOOL, ROOT
from rows import Row

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = """\
[bundle]
name = "bench"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.q4]
quantize = "Q4_K_M"
layout = "gguf"
runtime = "none"
"""
OPEN = "[plugins]\nconfine = false\n"
PEER = "the same, not confined"


class _Project:
    """A project with two configurations: with confinement and without."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        for name, text in (("confined", ""), ("open", OPEN)):
            (folder / name / "lftool").mkdir(parents=True)
            (folder / name / "lftool" / "config.toml").write_text(text)

    def timed(self, *arguments: str, confined: bool = True) -> float:
        """Return the wall time of a command of lftool, in seconds."""
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_CONFIG_HOME": str(self.folder / ("confined" if confined else "open")),
        }
        started = time.perf_counter()
        subprocess.run(
            [str(LFTOOL), *arguments], cwd=self.folder / "project", env=environment, check=True, capture_output=True
        )
        return time.perf_counter() - started


def quantise_row(folder: Path, rounds: int) -> Row:
    """`build --rebuild` of 1 GiB of F16: planned, quantised, packed and compared again."""
    project = _Project(folder)
    (folder / "project").mkdir()
    write_model(folder / "project" / "model.gguf", ROOT / "examples" / "tiny-story" / "tiny-story-f16.gguf", GIBIBYTE)
    (folder / "project" / "lftool.toml").write_text(RECIPE)
    project.timed("lock")
    project.timed("build")
    ours, peer = [], []
    for _ in range(rounds):
        peer.append(project.timed("build", "--rebuild", confined=False))
        ours.append(project.timed("build", "--rebuild"))
    return Row(
        name="quantise 1 GiB of F16 to Q4_K_M, confined",
        ours=tuple(ours),
        peer=tuple(peer),
        peer_name=PEER,
        budget=1.03,
    )


def lock_row(folder: Path, rounds: int) -> Row:
    """`lock` of the example with an empty cache; llama.cpp's scripts come from the package index each time."""
    project = _Project(folder)
    shutil.copytree(
        ROOT / "examples" / "tiny-story", folder / "project", ignore=shutil.ignore_patterns("dist", "*.key")
    )
    ours: list[float] = []
    peer: list[float] = []
    for _ in range(rounds):
        for times, confined in ((peer, False), (ours, True)):
            shutil.rmtree(project.cache, ignore_errors=True)
            times.append(project.timed("lock", "--upgrade", confined=confined))
    return Row(
        name="lock tiny-story, empty cache, confined",
        ours=tuple(ours),
        peer=tuple(peer),
        peer_name=PEER,
        budget=1.05,
    )
