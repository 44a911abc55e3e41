"""`make wheels`: wheels of lftool and all plugins, made twice in two folders; both times the same bytes.

hatchling takes the time of all files from SOURCE_DATE_EPOCH, so a wheel depends on the files only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EPOCH = "1580601600"  # 2020-02-02, hatchling's own default


def projects() -> list[Path]:
    """Return the folders of all packages that are released."""
    return [ROOT, *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]


def copied(folder: Path) -> Path:
    """Return a copy of what git tracks: nothing that lies about gets into a wheel."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def build(destination: Path) -> dict[str, str]:
    """Build all wheels from a fresh copy; return name to sha256."""
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(Path(folder))
        offline = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation")
        places = [copy / path.relative_to(ROOT) for path in projects()]
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", destination, *places],
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
            check=True,
        )
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(destination.glob("*.whl"))}


def main() -> None:
    """Build twice, compare, and keep the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("destination", type=Path)
    destination = parser.parse_args().destination.resolve()
    shutil.rmtree(destination, ignore_errors=True)
    destination.mkdir(parents=True)
    first = build(destination)
    with tempfile.TemporaryDirectory() as other:
        second = build(Path(other))
    if first != second:
        differ = sorted(name for name in first if first[name] != second.get(name))
        sys.exit(f"not reproducible: {', '.join(differ)}")
    for name, digest in first.items():
        print(f"{digest}  {name}")


if __name__ == "__main__":
    main()
