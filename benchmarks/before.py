"""Compare this checkout with an earlier commit: `--version`, a build with nothing to do, the second start of a bundle, a lock.

    benchmarks/before.py COMMIT [--rounds N]

Both are installed from their wheels, each into an environment of its own, with the packages of this one, and run in turns, each with
a cache of its own. The commit's plugins must do with the packages that are installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


class Version:
    """lftool from the wheels of a tree, with a project and a cache."""

    def __init__(self, tree: Path, folder: Path) -> None:
        folder.mkdir()
        wheels, place = folder / "wheels", folder / "environment"
        offline = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
        projects = [tree, *sorted(path.parent for path in tree.glob("plugins/*/pyproject.toml"))]
        pip = [sys.executable, "-m", "pip"]
        subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, *projects], check=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
        into = ("--python", place / "bin" / "python", "install")
        subprocess.run([*pip, *into, *offline, *sorted(wheels.glob("*.whl"))], check=True)
        (packages,) = place.glob("lib/python3*/site-packages")
        ours = next(path for path in sys.path if path.endswith("site-packages"))
        (packages / "others.pth").write_text(f"{ours}\n")  # a path only: what is editable there stays there
        self.python = place / "bin" / "python"
        subprocess.run([self.python, "-m", "compileall", "-q", packages], check=False)
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        self.project = folder / "project"
        shutil.copytree(REPOSITORY / "examples" / "tiny-story", self.project, ignore=shutil.ignore_patterns("dist"))
        (self.project / "lftool.toml").write_text((self.project / "lftool.toml").read_text().partition("[[checks]]")[0])

    def seconds(self, *arguments: str) -> float:
        """Run a command and return how long it took."""
        began = time.perf_counter()
        command = [self.python, "-P", "-m", "lftool", *arguments]
        done = subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
        )
        took = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"{arguments}: {done.stderr}")
        return took

    def prepare(self) -> None:
        """Do what the measured commands find done."""
        self.seconds("lock", "--upgrade")
        self.seconds("build", "--no-sign")
        time.sleep(2.5)  # a younger file gets no stamp
        self.seconds("build", "--no-sign")
        for _ in range(2):
            self.start()

    def start(self) -> float:
        """Start a bundle for one token."""
        return self.seconds("run", "dist/tiny-story-1.0.0-q4.llamafile", "-p", "Once", "--max-tokens", "1")

    def locked(self) -> float:
        """Lock with an empty cache."""
        shutil.rmtree(self.project.parent / "empty", ignore_errors=True)
        kept, self.environment["XDG_CACHE_HOME"] = (
            self.environment["XDG_CACHE_HOME"],
            str(self.project.parent / "empty"),
        )
        try:
            return self.seconds("lock")
        finally:
            self.environment["XDG_CACHE_HOME"] = kept


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lftool-before-") as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        for commit, place in (("HEAD", tree / "now"), (options.commit, tree / "before")):
            place.mkdir()
            archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True)
            subprocess.run(["tar", "x"], cwd=place, input=archive.stdout, check=True)
        now, before = (Version(tree / which, Path(name) / which) for which in ("now", "before"))
        for version in (now, before):
            version.prepare()
        rows = {
            "--version": (lambda version: version.seconds("--version"), options.rounds * 3),
            "build, nothing to do": (lambda version: version.seconds("build", "--no-sign"), options.rounds),
            # Its times have two humps 40 ms apart, in every version: the median of a few falls on one of them by chance.
            "run, second start": (Version.start, options.rounds * 4),
            "lock of tiny-story, empty cache": (Version.locked, max(3, options.rounds // 3)),
        }
        print(f"| command | this checkout | {options.commit} | ratio |\n|---|---|---|---|")
        for title, (measure, rounds) in rows.items():
            times: dict[Version, list[float]] = {now: [], before: []}
            for number in range(rounds):
                for version in (now, before) if number % 2 else (before, now):
                    times[version].append(measure(version))
            ours, theirs = (statistics.median(times[version]) for version in (now, before))
            print(f"| {title} | {ours:.3f} s | {theirs:.3f} s | {ours / theirs:.2f}x |", flush=True)


if __name__ == "__main__":
    main()
