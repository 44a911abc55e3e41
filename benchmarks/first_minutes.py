"""How long `make demo` takes for a newcomer, against an earlier commit: fresh clones, an empty HOME each, nothing cached by lftool.

    benchmarks/first_minutes.py COMMIT

This checkout's demo has no compiler on PATH; the earlier one's gets one, if it asks for it. Run once: the earlier demo may compile
for a quarter of an hour. What pip caches is empty too, so the package index has its share.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
_PYTHON = getattr(sys, "_base_executable", sys.executable)  # no environment's own
_COMPILERS = re.compile(r"(?:.*-)?(?:cc|gcc|g\+\+|c\+\+|clang|clang\+\+|c89|c99|cpp|ld|as|cmake|ninja)(?:-[\d.]+)?\Z")


def without_compilers(folder: Path) -> str:
    """Return a PATH of links to all programs but compilers and what belongs to them."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in sorted(Path(place).iterdir()) if Path(place).is_dir() else ():
            link = folder / program.name
            if program.is_file() and not _COMPILERS.match(program.name) and not link.is_symlink():
                link.symlink_to(program.absolute())
    return str(folder)


def seconds(commit: str, base: Path, path: str) -> float:
    """Return how long the demo of a commit takes in a clone and a HOME of its own."""
    base.mkdir()
    clone, home = base / "clone", base / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
    subprocess.run(["git", "-C", clone, "checkout", "--quiet", commit], check=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "LFTOOL_", "VIRTUAL_ENV"))}
    environment = {**kept, "HOME": str(home), "PATH": path, "PIP_CACHE_DIR": str(home / "pip")}
    began = time.perf_counter()
    done = subprocess.run(
        ["make", "demo", f"PYTHON={_PYTHON}"], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"make demo of {commit}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return took


def main() -> None:
    """Measure both and print the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        ours = seconds("HEAD", base / "ours", without_compilers(base / "programs"))
        print(f"make demo without a compiler: {ours:.1f} s", flush=True)
        theirs = seconds(options.commit, base / "theirs", os.environ["PATH"])
    print(f"make demo of {options.commit}: {theirs:.1f} s")
    print(f"{ours / theirs:.3f}x, budget ≤ 0.25x: {'met' if ours / theirs <= 0.25 else 'MISSED'}")


if __name__ == "__main__":
    main()
