"""Install llama-cpp-python compiled with floating-point contraction off.

The wheel is built once from the sdist whose sha256 requirements/llama-cpp.lock pins, kept under a key of all that
decides its bytes, and installed from there. See docs/adr/0002 for why pip's own wheel cache cannot be used.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def wheel_key(requirement: Path, cmake_args: str) -> str:
    """Name the wheel by pinned sdist, compiler flags, platform and build tools."""
    tools = [
        line.split(" ")[0]
        for line in (ROOT / "requirements" / "dev.lock").read_text().splitlines()
        if line.startswith(("cmake==", "ninja==", "scikit-build-core=="))
    ]
    facts = [requirement.read_text(), cmake_args, platform.machine(), sys.platform, *sorted(tools)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def build(requirement: Path, cmake_args: str, into: Path) -> None:
    """Compile the wheel into `into`, which appears only when it is complete."""
    print(
        "== llama-cpp-python: compiling once, with floating-point contraction off; five to fifteen minutes", flush=True
    )
    started = time.monotonic()
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        environment = {
            **os.environ,
            "CMAKE_ARGS": cmake_args,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        subprocess.run(
            [
                *PIP,
                "wheel",
                "--no-deps",
                "--no-build-isolation",
                "--no-cache-dir",
                "--no-binary",
                "llama-cpp-python",
                "--require-hashes",
                "-r",
                str(requirement),
                "-w",
                f"{scratch}/wheel",
            ],
            env=environment,
            check=True,
        )
        shutil.rmtree(into, ignore_errors=True)
        Path(scratch, "wheel").rename(into)
    print(f"== llama-cpp-python: compiled in {time.monotonic() - started:.0f} s", flush=True)


def main() -> None:
    """Build if needed, then install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheelhouse", type=Path, required=True)
    parser.add_argument("--cmake-args", required=True)
    options = parser.parse_args()
    requirement = ROOT / "requirements" / "llama-cpp.lock"
    kept = options.wheelhouse / wheel_key(requirement, options.cmake_args)
    if not list(kept.glob("*.whl")):
        build(requirement, options.cmake_args, kept)
    (wheel,) = kept.glob("*.whl")
    subprocess.run([*PIP, "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel)], check=True)


if __name__ == "__main__":
    main()
