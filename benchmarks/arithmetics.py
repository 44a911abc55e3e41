"""Which arithmetics `lftool prove` finds in files that builds of llama.cpp made: `python benchmarks/arithmetics.py MODELS`.

One build is the installed llama-cpp-python. The other has a libggml-base of the same sources, compiled for x86-64-v3 with
GCC's default, which contracts. Every file type is made of F16 weights, with and without a random importance matrix.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from equality import weights_of
from native import CACHE, LFTOOL, _sources
from quantizing import PEER, timed, write_importance

from lftool.api.gguf import FILE_TYPES

CONTRACTED = "ggml-q/1+fma/gcc-x86-64-v3"
PLAIN = "ggml-q/1"


def contracted(folder: Path) -> Path:
    """Return a folder to put first in the module path: llama_cpp with a library that is compiled contracted."""
    import llama_cpp

    from lftool_llamacpp.native_runtime import _OPTIONS, _TREE

    package = Path(llama_cpp.__file__).parent
    with zipfile.ZipFile(_sources()) as members:
        members.extractall(folder / "sources")
    tree = folder / "sources" / _TREE
    options = [*_OPTIONS, "-DBUILD_SHARED_LIBS=ON", "-DCMAKE_C_FLAGS=-march=x86-64-v3"]
    build = folder / "build"
    environment = {**os.environ, "GIT_DIR": "/nonexistent"}
    commands: tuple[list[str | Path], ...] = (
        ["cmake", "-S", tree, "-B", build, *options],
        ["cmake", "--build", build, "--target", "ggml-base", "-j", str(os.cpu_count())],
    )
    for command in commands:
        subprocess.run(command, check=True, capture_output=True, env=environment)
    (made,) = (path for path in build.rglob("libggml-base.so*") if not path.is_symlink())
    copied = folder / "site" / "llama_cpp"
    shutil.copytree(package, copied, symlinks=True)
    for path in (copied / "lib").glob("libggml-base.so*"):
        if not path.is_symlink():
            shutil.copy(made, path)
    return folder / "site"


def proved(file: Path, base: Path, imatrix: Path | None) -> tuple[str, list[str]]:
    """Return the verdict on a file, and the arithmetics that fit."""
    given: list[str | Path] = [] if imatrix is None else ["--imatrix", imatrix]
    done = subprocess.run(
        [LFTOOL, "prove", file, "--base", base, *given, "--json", "-q"], capture_output=True, text=True, check=False
    )
    if not done.stdout:
        return f"exit {done.returncode}: {done.stderr.strip()[-200:]}", []
    found = json.loads(done.stdout)
    return found["verdict"], found["arithmetics"]


def main() -> None:
    """Print a line for each file that is not proved as expected, and counts for each model and build."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--types", default=",".join(FILE_TYPES), help="file types, with commas between them")
    parser.add_argument("--cache", type=Path, default=CACHE / "arithmetics", help="keeps the contracted build")
    options = parser.parse_args()
    site = options.cache / "site"
    if not site.exists():
        shutil.rmtree(options.cache, ignore_errors=True)
        options.cache.mkdir(parents=True)
        contracted(options.cache)
    for model in options.models:
        with tempfile.TemporaryDirectory(prefix="lftool-arithmetics-") as name:
            folder = Path(name)
            base, imatrix, made = weights_of(model, folder), folder / "imatrix.gguf", folder / "made.gguf"
            write_importance(imatrix, base)
            for build, expected, path in (("plain", PLAIN, ""), ("contracted", CONTRACTED, str(site))):
                counts: dict[str, int] = {}
                for file_type in options.types.split(","):
                    for matrix in (None, imatrix):
                        arrays = matrix.with_suffix(".npz") if matrix else ""
                        os.environ["PYTHONPATH"] = path
                        try:
                            timed(
                                sys.executable,
                                "-c",
                                PEER,
                                base,
                                made,
                                FILE_TYPES[file_type],
                                os.cpu_count() or 1,
                                arrays,
                            )
                        except subprocess.CalledProcessError:
                            counts["refused by llama.cpp"] = counts.get("refused by llama.cpp", 0) + 1
                            continue
                        finally:
                            os.environ.pop("PYTHONPATH")
                        verdict, fits = proved(made, base, matrix)
                        made.unlink()
                        told = (
                            "this one only" if fits == [expected] else f"{'several' if expected in fits else 'WRONG'}"
                        )
                        if verdict not in {"identical file", "identical tensors"}:
                            told = "WRONG"
                        elif told == "several" and PLAIN in fits and build == "contracted":
                            told = "several, the uncontracted too"
                        counts[told] = counts.get(told, 0) + 1
                        if told == "WRONG" or "--verbose" in sys.argv:
                            print(f"  {model.name} {build} {file_type} {bool(matrix)}: {verdict} {fits}", flush=True)
                listed = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
                print(f"{model.name}, {build}: {listed}", flush=True)


if __name__ == "__main__":
    main()
