"""`hf://` sources with the line 2 of huggingface_hub, which is what stands beside lftool where nothing is converted."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
LINE = "2.4.0"


def test_sources_work_with_another_line_of_huggingface_hub(repository, tmp_path):
    folder = tmp_path / "packages"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*install, "--target", folder, f"huggingface-hub=={LINE}"], check=True)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    code = "import huggingface_hub; print(huggingface_hub.__version__)"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert found == f"{LINE}\n"
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/sources/test_hf.py"]
    done = subprocess.run(tests, env=environment, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout.splitlines()[-1]
