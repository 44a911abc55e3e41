"""The wheels in fresh environments, as people install them: `make test-wheels`.

Packages come from the index that pip is set up for; llama-cpp-python is the wheel that `make setup` compiled.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.packages.test_wheels import metadata, wheels  # noqa: F401 - a fixture
from tests.pages import run_tutorial, run_two_minutes

pytestmark = pytest.mark.wheels

CPU = ("lftool", "lftool_llamacpp", "lftool_strict")
READY_MADE = (*CPU, "lftool_xllamacpp")  # with an engine that is a wheel


def interpreter(version: str) -> Path:
    """Return a Python of a version: this one, or what is installed beside it."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        return Path(getattr(sys, "_base_executable", sys.executable))
    beside = Path(sys.base_prefix).parent  # where pyenv and uv keep versions side by side
    found = [path for path in sorted(beside.glob(f"*{version}.*/bin/python")) if path.exists()]
    on_path = shutil.which(f"python{version}")
    for path in [*found, *([Path(on_path)] if on_path else [])]:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if done.stdout.startswith(f"Python {version}."):
            return path
    pytest.skip(f"there is no Python {version} here")


def compiled() -> Path:
    """Return the wheel of llama-cpp-python that was compiled for this checkout."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    found = sorted((cache / "lftool-dev" / "wheels").glob("*/llama_cpp_python-*.whl"))
    if not found:
        pytest.skip("llama-cpp-python was not compiled here: make setup")
    return found[-1]


def install(folder: Path, version: str, *packages: object, constraints: str = "") -> Path:
    """Make an environment; return its folder of programs."""
    environment = folder / "environment"
    subprocess.run([interpreter(version), "-m", "venv", environment], check=True)
    (folder / "constraints.txt").write_text(constraints)
    pip = [environment / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    limited = ("-c", folder / "constraints.txt")
    done = subprocess.run([*pip, *limited, *map(str, packages)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return environment / "bin"


def oldest(wheel: Path) -> dict[str, str]:
    """Return package to the least version that a wheel allows."""
    found = {}
    for line in metadata(wheel).get_all("Requires-Dist", []):
        wanted = Requirement(line)
        least = [item.version for item in wanted.specifier if item.operator == ">="]
        if wanted.marker is None and least and not wanted.name.startswith("lftool"):
            found[wanted.name] = least[0]
    return found


@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_the_tutorial_works_with_what_pip_installs(wheels, repository, tmp_path, version):  # noqa: F811
    programs = install(tmp_path, version, *(wheels[name] for name in CPU), compiled())
    run_tutorial(repository, tmp_path, programs)


def test_the_tutorial_works_with_the_oldest_packages_that_are_allowed(wheels, repository, tmp_path):  # noqa: F811
    least = {name: version for wheel in CPU for name, version in oldest(wheels[wheel]).items()}
    constraints = "".join(f"{name}=={version}\n" for name, version in sorted(least.items()))
    programs = install(tmp_path, "3.11", *(wheels[name] for name in CPU), compiled(), constraints=constraints)
    run_tutorial(repository, tmp_path, programs)


@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_lftool_alone_packs_signs_and_verifies(wheels, repository, tmp_path, version):  # noqa: F811
    programs = install(tmp_path, version, wheels["lftool"])
    project = tmp_path / "project"
    project.mkdir()
    shutil.copyfile(repository / "examples" / "tiny-story" / "tiny-story-f16.gguf", project / "m.gguf")
    (project / "lftool.toml").write_text(
        '[bundle]\nname = "m"\nversion = "1"\n[sources.base]\nuri = "file:m.gguf"\n[model]\nweights = "base"\n'
        '[targets.plain]\nlayout = "gguf"\n[sign]\nkey = "file:k.key"\n'
    )
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def lftool(*arguments: str) -> str:
        done = subprocess.run(
            [programs / "lftool", *arguments], cwd=project, env=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    lftool("keygen", "-o", "k")
    lftool("lock")
    lftool("build")
    assert "signed by k.pub, which you trust" in lftool("verify", "--key", "k.pub", "dist/m-1-plain.gguf")
    assert lftool("inspect", "dist/m-1-plain.gguf")
    assert lftool("help", "recipe").startswith("# Recipe")
    listed = lftool("plugins", "list")
    assert [line for line in listed.splitlines() if not line.startswith(" ")] == ["builtin  lftool 0.1.0  active"]


def test_quantising_needs_no_compiler_and_no_llama_cpp(wheels, repository, tmp_path):  # noqa: F811
    programs = install(tmp_path, "3.11", wheels["lftool"], wheels["lftool_strict"])
    project = tmp_path / "project"
    project.mkdir()
    shutil.copyfile(repository / "examples" / "tiny-story" / "tiny-story-f16.gguf", project / "m.gguf")
    (project / "lftool.toml").write_text(
        '[bundle]\nname = "m"\nversion = "1"\n[sources.base]\nuri = "file:m.gguf"\n[model]\nweights = "base"\n'
        '[targets.q4]\nlayout = "gguf"\nquantize = "Q4_K_M"\n[targets.iq3]\nlayout = "gguf"\nquantize = "IQ3_S"\n'
    )
    home = {"HOME": str(tmp_path), "PATH": "/nowhere", "LC_ALL": "C.UTF-8"}

    def lftool(*arguments: str) -> str:
        done = subprocess.run(
            [programs / "lftool", *arguments], cwd=project, env=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr

    assert "did not try loading the model: no installed plugin has an engine" in lftool("lock")
    lftool("build")
    assert sorted(path.name for path in (project / "dist").iterdir()) == ["m-1-iq3.gguf", "m-1-q4.gguf"]
    missing = [programs / "python", "-c", "import llama_cpp"]
    assert subprocess.run(missing, capture_output=True, check=False).returncode == 1


def test_the_two_minutes_of_the_readme_work_with_the_wheels(wheels, repository, tmp_path):  # noqa: F811
    run_two_minutes(repository, tmp_path, install(tmp_path, "3.11", *(wheels[name] for name in READY_MADE)))


def test_the_example_plugin_is_typed_strictly_against_the_wheels(wheels, repository, tmp_path):  # noqa: F811
    programs = install(tmp_path, "3.11", f"{wheels['lftool']}[testing]", "mypy")
    folder = tmp_path / "plugin"
    shutil.copytree(repository / "docs" / "examples" / "lftool-sampler" / "src", folder)
    done = subprocess.run(
        [programs / "python", "-m", "mypy", "--strict", "."], cwd=folder, capture_output=True, text=True, check=False
    )
    assert re.match(r"Success: no issues found in \d+ source files", done.stdout), done.stdout
