"""The programs in docs/reference/readers.md that verify a signature without lftool, with the libraries that they name."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
PYTHON = ("securesystemslib==1.6.0",)
NPM = ("@sigstore/verify@4.1.3", "@sigstore/bundle@5.0.1")


def block(repository: Path, language: str) -> str:
    text = (repository / "docs" / "reference" / "readers.md").read_text()
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return found


@pytest.fixture
def signed(plain_project) -> tuple[Path, str]:
    """A folder with the signature and the key, as the page names them, and the digest of the manifest."""
    plain_project.write_recipe(plain_project.recipe.read_text() + '[sign]\nkey = "file:release.key"\n')
    plain_project.run("keygen", "-o", "release").assert_success()
    plain_project.run("lock").assert_success()
    (made,) = plain_project.run("build", "--json").assert_success().json()["bundles"]
    plain_project.run("extract", made["path"], "parts").assert_success()
    (signature,) = (plain_project.root / "parts" / "lftool" / "sig").iterdir()
    folder = plain_project.root / "verified"
    folder.mkdir()
    shutil.copy(signature, folder / "signature.json")
    shutil.copy(plain_project.root / "release.pub", folder)
    found = plain_project.run("verify", "--key", "release.pub", "--json", made["path"]).assert_success().json()
    return folder, found["manifest_sha256"]


def changed(folder: Path) -> None:
    """Have the signature be one of another payload."""
    text = (folder / "signature.json").read_text()
    payload = re.search(r'"payload":"([^"]+)"', text)[1]
    other = payload[:40] + ("A" if payload[40] != "A" else "B") + payload[41:]
    (folder / "signature.json").write_text(text.replace(payload, other))


def test_with_securesystemslib(repository, signed, tmp_path):
    folder, digest = signed
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*install, "--target", tmp_path / "packages", *PYTHON], check=True)
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'packages')!r})\n{block(repository, 'python')}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == f"{digest}\n"
    changed(folder)
    assert subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, check=False).returncode != 0


def test_with_sigstore_verify(repository, signed):
    npm = shutil.which("npm") or pytest.skip("there is no npm here")
    folder, digest = signed
    subprocess.run([npm, "install", "--silent", "--no-audit", "--no-fund", *NPM], cwd=folder, check=True)
    (folder / "verify.js").write_text(block(repository, "javascript"))
    done = subprocess.run(["node", "verify.js"], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == f"{digest}\n"
    changed(folder)
    assert subprocess.run(["node", "verify.js"], cwd=folder, capture_output=True, check=False).returncode != 0
