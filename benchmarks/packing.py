"""Packing, verifying and starting a bundle of a synthetic model, against the programs that do as much."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from model import write_model
from rows import Row

ROOT = Path(__file__).resolve().parent.parent
LFTOOL = Path(sys.executable).with_name("lftool")
PROMPT = "User: Tell me a story about a fox.\nAssistant:"
GIBIBYTE = 1024**3
SETTLE_SECONDS = 2.5  # a file younger than two seconds gets no stamp

RECIPE = """\
[bundle]
name = "bench"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.f16]
layout = "llamafile"
[run]
context = 128
temperature = 0.0
[sign]
key = "file:bench.key"
"""

PEER_RUN = """\
import sys
import llama_cpp
model = llama_cpp.Llama(model_path=sys.argv[1], n_ctx=128, seed=0, use_mmap=True, verbose=False)
for part in model.create_completion(sys.argv[2], stream=True, max_tokens=1, temperature=0.0):
    sys.stdout.write(part["choices"][0]["text"])
    sys.stdout.flush()
"""


class Bench:
    """One run: a folder with the model, its bundle and a cache."""

    def __init__(self, folder: Path, size: int, rounds: int) -> None:
        self.folder, self.size, self.rounds = folder, size, rounds
        # As pip installs it: with bytecode. A machine that forbids Python to keep it would compile our sources each time.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.environment = {
            **inherited,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        self.model = folder / "model.gguf"
        self.bundle = folder / "dist" / "bench-1-f16.llamafile"

    def timed(self, *command: object) -> float:
        """Return the wall time of a command that must succeed."""
        started = time.perf_counter()
        subprocess.run(
            [str(part) for part in command], cwd=self.folder, env=self.environment, check=True, capture_output=True
        )
        return time.perf_counter() - started

    def first_output(self, *command: object) -> float:
        """Return the time until a command writes its first byte to standard output."""
        started = time.perf_counter()
        with subprocess.Popen(
            [str(part) for part in command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.read(1), "nothing was written"
            seconds = time.perf_counter() - started
            process.stdout.read()
        assert process.returncode == 0
        return seconds

    def read_again(self, path: Path) -> None:
        """Drop a file from the page cache and read it back."""
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self.timed("sh", "-c", f"cat '{path}' > /dev/null")

    def prepare(self, target: str = "") -> None:
        """Make the model and lock it, with one more target; the first lock brings it into the store."""
        print(f"making a model of {self.size / GIBIBYTE:.1f} GiB …", flush=True)
        write_model(self.model, ROOT / "examples" / "tiny-story" / "tiny-story-f16.gguf", self.size)
        (self.folder / "lftool.toml").write_text(RECIPE + target)
        self.timed(LFTOOL, "keygen", "-o", "bench")
        self.timed(LFTOOL, "lock")
        time.sleep(SETTLE_SECONDS)
        self.timed(LFTOOL, "build")

    def pack(self) -> Row:
        """pack + sign from the store against cp and sync, alternated."""
        ours, peer = [], []
        blob = max((self.folder / "cache" / "lftool" / "cas-v1").glob("*/*"), key=lambda path: path.stat().st_size)
        copy = self.folder / "copy"
        for _ in range(self.rounds):
            copy.unlink(missing_ok=True)
            peer.append(self.timed("sh", "-c", f"cp '{blob}' '{copy}' && sync '{copy}'"))
            copy.unlink()
            shutil.rmtree(self.folder / "dist")
            ours.append(self.timed(LFTOOL, "build"))
        return Row(
            name="pack + sign from the store",
            ours=tuple(ours),
            peer=tuple(peer),
            peer_name="cp A B && sync B",
            budget=1.3,
        )

    def verify(self, cores: str, budget: float) -> Row:
        """verify, every byte, against openssl dgst of the same file."""
        ours, peer = [], []
        pin = ["taskset", "-c", cores]
        for _ in range(self.rounds):
            peer.append(self.timed(*pin, "openssl", "dgst", "-sha256", self.bundle))
            ours.append(self.timed(*pin, LFTOOL, "verify", "--key", "bench.pub", self.bundle))
        count = "one core" if "," not in cores else "two cores"
        return Row(
            name=f"verify every byte, {count}",
            ours=tuple(ours),
            peer=tuple(peer),
            peer_name="openssl dgst -sha256",
            budget=budget,
        )

    def noop(self) -> Row:
        """build with everything there."""
        time.sleep(SETTLE_SECONDS)
        self.timed(LFTOOL, "build")
        return Row(
            name="no-op build",
            ours=tuple(self.timed(LFTOOL, "build") for _ in range(self.rounds)),
            budget=0.3,
            unit="s wall",
        )

    def version(self) -> Row:
        """--version against an empty Python process."""
        ours, peer = [], []
        for _ in range(4 * self.rounds):
            peer.append(self.timed(sys.executable, "-c", "pass"))
            ours.append(self.timed(LFTOOL, "--version"))
        return Row(name="lftool --version", ours=tuple(ours), peer=tuple(peer), peer_name="python3 -c pass", budget=5.0)

    def first_token(self) -> Row:
        """First token from the bundle, second start, against llama-cpp-python on the plain GGUF, warm page cache.

        Both files are read from the disk again first: what a copy leaves in the page cache maps more slowly than what
        was read or written at once, whoever maps it (docs/performance.md).
        """
        for path in (self.model, self.bundle):
            self.read_again(path)
        shutil.rmtree(self.folder / "cache" / "lftool" / "stamps-v1", ignore_errors=True)
        run = [LFTOOL, "run", self.bundle, "--raw", "--max-tokens", "1", "-p", PROMPT]
        first = self.first_output(*run)
        ours, peer = [], []
        for _ in range(self.rounds):
            peer.append(self.first_output(sys.executable, "-c", PEER_RUN, self.model, PROMPT))
            ours.append(self.first_output(*run))
        return Row(
            name="first token, second start",
            ours=tuple(ours),
            peer=tuple(peer),
            peer_name="llama-cpp-python, plain GGUF",
            budget=1.05,
            note=f"first start, which verifies: {first:.2f} s",
        )

    def memory(self) -> Row:
        """Peak memory of a cold build that fetches and packs: resident set of the process and its children."""
        shutil.rmtree(self.folder / "cache")
        shutil.rmtree(self.folder / "dist")
        script = (
            "import resource,subprocess,sys;subprocess.run(sys.argv[1:],check=True,capture_output=True);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(LFTOOL), "build"],
            cwd=self.folder,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        mebibytes = int(done.stdout) / 1024
        largest = 2048 * 8192 * 2 / 1024**2
        return Row(name="peak memory of build", ours=(mebibytes,), budget=512 + largest, unit="MiB")
