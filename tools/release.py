"""`make release`: everything that a release consists of, in a folder: wheels, sdist, bill of materials, checksums. It uploads nothing.

Without `--final` it is dry: what would stop a release is said, and the files are made all the same. Nothing is signed yet, and it says so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from wheels import EPOCH, ROOT, build, copied, projects


def version() -> str:
    """Return the one version, which all packages have."""
    text = (ROOT / "toolchain" / "lftool" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found is not None
    return found[1]


def obstacles() -> list[str]:
    """Return what stops a release."""
    wanted, found = version(), []
    for project in projects():
        named = re.search(r'^version = "(.+)"$', (project / "pyproject.toml").read_text(), re.MULTILINE)
        if named is None or named[1] != wanted:
            found.append(f"{project.name}: version {named and named[1]}, lftool's is {wanted}")
    log = (ROOT / "CHANGELOG.md").read_text()
    section = re.search(rf"^## {re.escape(wanted)}(.*)$", log, re.MULTILINE)
    if section is None:
        found.append(f"CHANGELOG.md has no section for {wanted}")
    elif "unreleased" in section[1]:
        found.append(f"CHANGELOG.md calls {wanted} unreleased: write its date")
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    if changed:
        found.append(f"{len(changed.splitlines())} files are not committed")
    return found


def _sdist(destination: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", destination],
            cwd=copied(Path(folder)),
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
            capture_output=True,
            check=True,
        )


def _component(wheel: Path) -> dict[str, Any]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        found = BytesParser().parsebytes(archive.read(name))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return {
        "type": "library",
        "name": found["Name"],
        "version": found["Version"],
        "purl": f"pkg:pypi/{found['Name']}@{found['Version']}",
        "licenses": [{"expression": found["License-Expression"]}],
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "properties": [
            {"name": "python:requires", "value": line} for line in sorted(found.get_all("Requires-Dist", []))
        ],
    }


def bill_of_materials(wheels: list[Path]) -> bytes:
    """Return a CycloneDX 1.6 document of the wheels, each with what it asks for; the same wheels give the same bytes."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "lftool", "version": version()}},
        "components": [_component(path) for path in wheels],
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def main() -> None:
    """Make the files, and say what stops their release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--final", action="store_true", help="fail if anything stops the release")
    arguments = parser.parse_args()
    destination: Path = arguments.destination.resolve()
    destination.mkdir(parents=True, exist_ok=True)
    if any(destination.iterdir()):
        sys.exit(f"{destination} is not empty")
    stopping = obstacles()
    for text in stopping:
        print(f"{'error' if arguments.final else 'would stop a release'}: {text}")
    if stopping and arguments.final:
        sys.exit(1)
    build(destination)
    _sdist(destination)
    wheels = sorted(destination.glob("*.whl"))
    (destination / "lftool.cdx.json").write_bytes(bill_of_materials(wheels))
    files = sorted(path for path in destination.iterdir() if path.name != "SHA256SUMS")
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (destination / "SHA256SUMS").write_text(sums)
    print(sums, end="")
    print("nothing is signed, and nothing was uploaded")


if __name__ == "__main__":
    main()
