"""Fake installed distributions: a module and a dist-info folder by hand, no pip. Fixtures `site`, `lftool`, `interpreter`."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from lftool.testing import Outcome, ProjectFolder

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = {
    "lftool",
    "lftool-hf",
    "lftool-llamacpp",
    "lftool-oci",
    "lftool-s3",
    "lftool-strict",
    "lftool-cuda",
    "lftool-rocm",
    "lftool-xllamacpp",
    "lftool-metal",
}


@frozen(kw_only=True)
class Site:
    """A folder on sys.path, like site-packages."""

    root: Path

    def install(
        self, distribution: str, code: str, *, entry: str = "", module: str = "", version: str = "1.0", api: str = ""
    ) -> None:
        """Install a distribution with one module and one entry point; `api` replaces the usual LFTOOL_API line."""
        module = module or distribution.replace("-", "_")
        header = api or "LFTOOL_API = (2, 0)"
        text = f"from lftool.api import *\nfrom lftool.api.gguf import *; from lftool.api.http import *\n{header}\n{textwrap.dedent(code)}"
        info = f"{distribution.replace('-', '_')}-{version}.dist-info"
        files = {
            f"{module}.py": text,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
            f"{info}/entry_points.txt": f"[lftool]\n{entry or distribution} = {module}\n",
        }
        record = io.StringIO()
        rows = csv.writer(record, lineterminator="\n")
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
            rows.writerow([name, f"sha256={digest}", len(content.encode())])
        rows.writerow([f"{info}/RECORD", "", ""])
        (self.root / info / "RECORD").write_text(record.getvalue())


@frozen(kw_only=True)
class Lftool:
    """Runs lftool in a process of its own, with the site's plugins installed."""

    site: Site
    project: ProjectFolder

    def __call__(self, *arguments: str | Path, **variables: str) -> Outcome:
        return self.project.spawn(
            *arguments, env={"PYTHONPATH": str(self.site.root), "LFTOOL_FETCH_ATTEMPTS": "1", **variables}
        )

    def listed(self, **variables: str) -> dict[str, dict]:
        """`lftool plugins list --json` of third-party plugins of the site, by distribution."""
        shown = self("plugins", "list", "--json", **variables).assert_success().json()["plugins"]
        return {item["distribution"]: item for item in shown if item["distribution"] not in OURS}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    root = tmp_path / "site"
    root.mkdir()
    return Site(root=root)


@pytest.fixture
def lftool(site: Site, project: ProjectFolder) -> Lftool:
    """Plugins by PYTHONPATH: enough for whatever does not run in a worker, which sees installed plugins only."""
    return Lftool(site=site, project=project)


@pytest.fixture
def interpreter(tmp_path: Path, site: Site) -> Path:
    """A Python in whose environment the site's plugins are installed; workers find them too."""
    root = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    (packages,) = root.glob("lib/python3*/site-packages")
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "tests.pth").write_text(f"import site; site.addsitedir({ours!r})\n{site.root}\n")
    return root / "bin" / "python"


def lftool_of(interpreter: Path, project: ProjectFolder, *arguments: str, env: Mapping[str, str]) -> Outcome:
    """Run a command with the Python of an environment, in the folder of a project; `env` is added to its variables."""
    done = subprocess.run(
        [interpreter, "-m", "lftool.cli.entry", *arguments],
        cwd=project.root,
        env={**project.environment, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Outcome(status=done.returncode, out=done.stdout, err=done.stderr)
