"""Quantise real models to every file type with both quantizers, and compare the files: `python benchmarks/equality.py MODELS`.

Weights that come quantised are made F16 by llama.cpp first. The importance matrices are random, and cover every matrix.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from quantizing import OURS, PEER, timed, write_importance

from lftool.api.gguf import FILE_TYPES

F16 = """
import sys
from pathlib import Path
from lftool_llamacpp.library import QuantizeCall, quantize_file
call = QuantizeCall(file_type=1, allow_requantize=True, threads=2)
quantize_file(Path(sys.argv[1]), Path(sys.argv[2]), call, lambda line: None)
"""


# As a build does: what a lock would refuse is refused.
PLANNED = OURS.replace(
    "StrictQuantizer().run",
    "StrictQuantizer().plan(TransformSpec(produces=file_type), inputs)\nStrictQuantizer().run",
)


def weights_of(model: Path, folder: Path) -> Path:
    """Return a model's weights as F16: a GGUF, or what llama.cpp's script makes of a folder."""
    if model.suffix == ".gguf":
        timed(sys.executable, "-c", F16, model, folder / "f16.gguf")
        return folder / "f16.gguf"
    (folder / "lftool.toml").write_text(
        '[bundle]\nname = "m"\nversion = "1"\n[sources.base]\nuri = "file:model"\n[model]\nweights = "base"\n'
        'intermediate = "f16"\n[targets.whole]\nlayout = "gguf"\n'
    )
    (folder / "model").symlink_to(model.resolve())
    root = Path(sys.executable).parent
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    subprocess.run(["cp", "-rL", model.resolve(), folder / "model.copy"], check=True)
    (folder / "model").unlink()
    (folder / "model.copy").rename(folder / "model")
    for command in ("lock", "build"):
        subprocess.run([root / "lftool", command], cwd=folder, env=environment, check=True, capture_output=True)
    bundle = folder / "dist" / "m-1-whole.gguf"
    subprocess.run([root / "lftool", "extract", bundle, folder / "out"], check=True, capture_output=True)
    (made,) = (path for path in (folder / "out").rglob("*") if path.is_file() and path.read_bytes()[:4] == b"GGUF")
    return made


def compare(source: Path, imatrix: Path | None, file_type: str, folder: Path) -> str:
    """Return what both make of it: "equal", "differs", or "refused" by both."""
    ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"
    digests = []
    for program, kind, matrix, out in (
        (PEER, FILE_TYPES[file_type], imatrix.with_suffix(".npz") if imatrix else "", theirs),
        (PLANNED, file_type, imatrix or "", ours),
    ):
        try:
            digests.append(timed(sys.executable, "-c", program, source, out, kind, os.cpu_count() or 1, matrix)[1])
        except subprocess.CalledProcessError:
            digests.append("")
        out.unlink(missing_ok=True)
    if digests[0] != digests[1]:
        return "differs"
    return "equal" if digests[0] else "refused"


def main() -> None:
    """Compare, and print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--types", default=",".join(FILE_TYPES), help="file types, with commas between them")
    options = parser.parse_args()
    for model in options.models:
        with tempfile.TemporaryDirectory(prefix="lftool-equality-") as name:
            folder = Path(name)
            source, imatrix = weights_of(model, folder), folder / "imatrix.gguf"
            write_importance(imatrix, source)
            counts: dict[str, int] = {}
            for file_type in options.types.split(","):
                for matrix in (None, imatrix):
                    found = compare(source, matrix, file_type, folder)
                    counts[found] = counts.get(found, 0) + 1
                    if found != "equal":
                        print(
                            f"  {model.name} {file_type} {'with' if matrix else 'without'} imatrix: {found}", flush=True
                        )
            digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
            print(
                f"{model.name} ({digest}): " + ", ".join(f"{count} {what}" for what, count in sorted(counts.items())),
                flush=True,
            )


if __name__ == "__main__":
    main()
