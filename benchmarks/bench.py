"""`make bench`: the budgets, each as a ratio against the named peer in the same run; exit status 1 when one is missed."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from fetching import fetch_rows
from model import write_model
from native import TARGET, export_row, first_token_rows, seed_cache, throughput_row
from quantizing import quantize_rows
from rows import Row
from streaming import streaming_row

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

    def timed(self, *command: str | Path) -> float:
        """Return the wall time of a command that must succeed."""
        started = time.perf_counter()
        subprocess.run(
            [str(part) for part in command], cwd=self.folder, env=self.environment, check=True, capture_output=True
        )
        return time.perf_counter() - started

    def first_output(self, *command: str | Path) -> float:
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
            budget=0.4,
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


def _version(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def _raw(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def report(rows: list[Row], size: int) -> str:
    """Return the table."""
    lines = [
        (
            f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()};"
            f" {_version('openssl', 'version')}; {_version('cp', '--version')}; llama-cpp-python {metadata.version('llama-cpp-python')}; model {size / GIBIBYTE:.1f} GiB"
        ),
        "",
        "| what | ours, median [min-max] | peer, median [min-max] | ratio or value | budget | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours = f"{statistics.median(row.ours):.3g} {row.unit} [{min(row.ours):.3g}-{max(row.ours):.3g}]"
        peer = (
            f"{row.peer_name}: {statistics.median(row.peer):.3g} s [{min(row.peer):.3g}-{max(row.peer):.3g}]"
            if row.peer
            else ""
        )
        name = f"{row.name} ({row.note})" if row.note else row.name
        value = f"{row.value:.2f}x" if row.peer else f"{row.value:.3g} {row.unit}"
        budget = f"≤ {row.budget:g}x" if row.peer else f"≤ {row.budget:g} {row.unit}"
        if row.faster:
            value, budget = f"{1 / row.value:.1f}x faster", f"≥ {1 / row.budget:g}x faster"
        lines.append(f"| {name} | {ours} | {peer} | {value} | {budget} | {'met' if row.met else 'MISSED'} |")
    lines += ["", "Raw times in seconds, in the order of the runs:", ""]
    for row in rows:
        lines.append(f"- {row.name}: ours {_raw(row.ours)}{f'; peer {_raw(row.peer)}' if row.peer else ''}")
    return "\n".join(lines)


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-gib", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["quantise", "stream", "native"], help="only these rows")
    parser.add_argument("--folder", type=Path, help="where to work; needs five times the model's size")
    options = parser.parse_args()
    if options.size_gib < 1:
        sys.exit("a model under 1 GiB measures start-up, not throughput; refused")
    template = ROOT / "examples" / "tiny-story" / "tiny-story-f16.gguf"
    if options.only == "native":
        finish(native_rows(options, template), int(options.size_gib * GIBIBYTE))
        return
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        quantised = quantize_rows(Path(name), template, min(3, options.rounds)) if options.only != "stream" else []
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        example = template.parent / "tiny-story"
        quantised.append(streaming_row(Path(name), example, int(options.size_gib * GIBIBYTE), min(3, options.rounds)))
    if options.only:
        finish(quantised, GIBIBYTE)
        return
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:  # first: a busy disk lasts
        fetched = fetch_rows(Path(name), template, options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        bench = Bench(Path(name), int(options.size_gib * GIBIBYTE), options.rounds)
        bench.prepare()
        rows = [bench.version(), bench.pack(), bench.noop()]
        rows += [bench.verify("0", 1.15), bench.verify("0,1", 0.65)]
        rows += [bench.first_token(), bench.memory()]
    finish([*rows, *fetched, *quantised, *native_rows(options, template)], bench.size)


def native_rows(options: argparse.Namespace, template: Path) -> list[Row]:
    """Measure native bundles."""
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        rows = [throughput_row(Path(name), template, options.rounds)]
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        bench = Bench(Path(name), int(options.size_gib * GIBIBYTE), options.rounds)
        seed_cache(bench.folder / "cache")
        bench.prepare(TARGET)
        bundle = bench.folder / "dist" / "bench-1-native.llamafile"
        return [*rows, *first_token_rows(bench, bundle), export_row(bench, bundle)]


def finish(rows: list[Row], size: int) -> None:
    """Print the table, and exit with an error when a budget is missed."""
    print(report(rows, size))
    missed = [row.name for row in rows if not row.met]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
