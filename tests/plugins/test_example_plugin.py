"""The example plugin as its users get it: wheels of lftool and of the plugin in a fresh environment, a real build."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from attrs import frozen

from lftool.testing import Outcome

# What lftool itself depends on, of requirements/dev.lock.
_DEPENDENCIES = {
    "attrs", "cattrs", "cffi", "click", "cryptography", "isal", "markdown-it-py", "mdurl", "pluggy", "pycparser", "pygments",
    "rich", "tomlkit", "typing-extensions", "zstandard",
}  # fmt: skip

_RECIPE = """\
[bundle]
name = "ramp"
version = "1"

[sources.base]
uri = "mem:ramp"
options = { width = 64 }

[model]
weights = "base"

[targets.rounded]
quantize = "F16_ROUND8"
options = { keep_bits = 4 }
layout = "gguf"
"""


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


def _pinned(lock: Path, names: set[str]) -> str:
    """The entries of `names` in a hash-pinned requirements file."""
    entries = re.split(r"\n(?=\S)", lock.read_text())
    chosen = [entry for entry in entries if entry.partition("==")[0] in names]
    assert len(chosen) == len(names)
    return "\n".join(chosen) + "\n"


def _site_packages(environment: Path) -> Path:
    (found,) = environment.glob("lib/python3*/site-packages")
    return found


def _install(repository: Path, folder: Path) -> None:
    example = repository / "docs" / "examples" / "lftool-example"
    wheels, environment = folder / "wheels", folder / "environment"
    offline = ("--quiet", "--no-deps", "--no-index")
    _pip("wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, repository, example)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pinned = folder / "requirements.txt"
    pinned.write_text(_pinned(repository / "requirements" / "dev.lock", _DEPENDENCIES))
    into = ("--python", environment / "bin" / "python", "install", "--quiet", "--no-deps")
    _pip(*into, "--require-hashes", "-r", pinned)
    _pip(*into, "--no-index", *sorted(wheels.glob("*.whl")))
    _pip("install", *offline, "--no-build-isolation", "--prefix", folder / "editable", "-e", example)


@frozen(kw_only=True)
class Environment:
    """A fresh environment and a project in which its lftool runs."""

    root: Path
    project: Path

    @property
    def plugin(self) -> Path:
        """The folder of the installed plugin."""
        return _site_packages(self.root) / "lftool_example"

    @property
    def lock(self) -> Path:
        return self.project / "lftool.lock"

    def read_lock(self) -> dict:
        return tomllib.loads(self.lock.read_text())

    def lftool(self, *arguments: str | Path) -> Outcome:
        home = self.project.parent / "home"
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
        }
        command = [self.root / "bin" / "python", "-m", "lftool.cli.entry", *map(str, arguments)]
        done = subprocess.run(command, cwd=self.project, env=variables, capture_output=True, text=True, check=False)
        return Outcome(status=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="session")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with `environment`, where the wheels are installed, and `editable`; made once, by the first worker."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "example-plugin"
    shared.mkdir(exist_ok=True)
    with (shared / "mutex").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if not (shared / "ready").exists():
            _install(repository, shared)
            (shared / "ready").touch()
    return shared


@pytest.fixture
def environment(installed: Path, tmp_path: Path) -> Environment:
    """A copy of the environment that a test may change, and a project that uses source and quantizer."""
    root, project = tmp_path / "environment", tmp_path / "project"
    shutil.copytree(installed / "environment", root, symlinks=True, copy_function=os.link)
    project.mkdir()
    (project / "lftool.toml").write_text(_RECIPE)
    return Environment(root=root, project=project)


def _replace_text(path: Path, old: str, new: str) -> None:
    """Replace the file, which may be a hard link; never write into it."""
    text = path.read_text()
    assert text.count(old) == 1
    path.unlink()
    path.write_text(text.replace(old, new))


def test_plugin_imports_only_the_public_api(repository: Path) -> None:
    sources = (repository / "docs" / "examples" / "lftool-example" / "src").rglob("*.py")
    imported = {
        name for path in sources for name in re.findall(r"(?m)^ *(?:from|import) (lftool\.\w+)", path.read_text())
    }
    assert imported == {"lftool.api"}


def test_its_own_tests_pass(repository: Path) -> None:
    folder = repository / "docs" / "examples" / "lftool-example"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", folder / "pyproject.toml"]
    done = subprocess.run(
        [*command, "--rootdir", folder],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^7 passed in ", done.stdout, re.MULTILINE), done.stdout


# `make test-wheels` installs wheels into environments of their own.
@pytest.mark.slow
def test_environment_has_the_wheel_of_lftool_and_not_the_checkout(environment: Environment) -> None:
    python = environment.root / "bin" / "python"
    code = "import lftool, lftool_example; print(lftool.__file__); print(lftool_example.__file__)"
    shown = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    site = _site_packages(environment.root)
    assert shown.splitlines() == [f"{site}/lftool/__init__.py", f"{site}/lftool_example/__init__.py"]


def test_plugins_list_shows_what_it_provides(environment: Environment) -> None:
    listed = environment.lftool("plugins", "list", "--json").assert_success().json()["plugins"]
    assert listed[0]["plugin"] == "builtin"
    assert listed[1:] == [
        {
            "plugin": "example",
            "distribution": "lftool-example",
            "version": "0.1.0",
            "module": "lftool_example",
            "status": "active",
            "reason": "",
            "provides": [
                {"kind": "sources", "name": "mem", "summary": "a small model made in memory"},
                {
                    "kind": "quantizers",
                    "name": "round",
                    "summary": "F16 weights with the low bits of each mantissa cleared",
                },
            ],
        }
    ]


def _digest_of(package: Path) -> str:
    """The digest of a plugin, as the design defines it: sha256 over the sorted (path, sha256) of its own files."""
    pairs = sorted(
        [f"lftool_example/{path.name}", hashlib.sha256(path.read_bytes()).hexdigest()] for path in package.glob("*.py")
    )
    return hashlib.sha256(json.dumps(pairs, separators=(",", ":")).encode()).hexdigest()


def test_lock_pins_plugin_and_tool(environment: Environment) -> None:
    environment.lftool("lock").assert_success()
    lock = environment.read_lock()
    tool = lock["tools"]["round/1"]
    assert lock["plugins"] == {"lftool-example": {"version": "0.1.0", "sha256": _digest_of(environment.plugin)}}
    assert (tool["providers"], list(tool["fingerprints"])) == ({"round": "0.1.0"}, ["F16_ROUND8"])
    assert lock["targets"]["rounded"]["quantize"]["semantics"] == "round/1"
    assert lock["sources"]["base"]["options"] == {"width": 64}


def test_fingerprint_is_the_digest_of_every_f16_value_rounded(environment: Environment) -> None:
    environment.lftool("lock").assert_success()
    code = (
        "import hashlib, io, pathlib, sys; from lftool_example.rounding import Rounder, round_gguf;"
        " path = Rounder().probe_inputs('F16_ROUND8', pathlib.Path(sys.argv[1]))['weights']; out = io.BytesIO();"
        " round_gguf(path.open('rb'), path.stat().st_size, out, 8, lambda *_: None);"
        " print(hashlib.sha256(out.getvalue()).hexdigest())"
    )
    command = [environment.root / "bin" / "python", "-I", "-c", code, environment.project]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert environment.read_lock()["tools"]["round/1"]["fingerprints"] == {"F16_ROUND8": expected}


def test_build_makes_a_bundle_that_verifies(environment: Environment) -> None:
    environment.lftool("lock").assert_success()
    (made,) = environment.lftool("build", "--json").assert_success().json()["bundles"]
    found = environment.lftool("verify", "--allow-unsigned", "--full", "--json", made["path"]).assert_success().json()
    assert (found["name"], found["target"], found["integrity"]) == ("ramp", "rounded", True)
    assert found["unsigned_sha256"] == made["unsigned_sha256"]


def test_bundle_holds_the_rounded_weights_of_the_source(environment: Environment) -> None:
    environment.lftool("lock").assert_success()
    (made,) = environment.lftool("build", "--json").assert_success().json()["bundles"]
    code = (
        "import io, sys; from lftool_example.memory import ramp; from lftool_example.rounding import round_gguf;"
        " data = ramp(64); round_gguf(io.BytesIO(data), len(data), sys.stdout.buffer, 4, lambda *_: None)"
    )
    python = environment.root / "bin" / "python"
    expected = subprocess.run([python, "-I", "-c", code], capture_output=True, check=True).stdout
    assert Path(made["path"]).read_bytes()[: len(expected)] == expected


def test_second_build_is_the_same_file(environment: Environment) -> None:
    environment.lftool("lock").assert_success()
    first = environment.lftool("build", "--json").assert_success().json()
    shutil.rmtree(environment.project.parent / "home")
    Path(first["bundles"][0]["path"]).unlink()
    assert environment.lftool("build", "--locked", "--json").assert_success().json() == first


def test_options_of_the_recipe_are_structured_by_the_plugins_class(environment: Environment) -> None:
    _replace_text(environment.project / "lftool.toml", "keep_bits = 4", "keep_bit = 4")
    done = environment.lftool("lock")
    said = "error: lftool.toml: $.targets.rounded.options.keep_bit: unknown key; did you mean 'keep_bits'?\n"
    assert (done.status, done.out, done.err.endswith(said)) == (2, "", True), done


def test_build_refuses_a_plugin_that_changed_since_it_was_locked(environment: Environment) -> None:
    environment.lftool("lock").assert_success()
    lock, pinned = environment.lock.read_bytes(), _digest_of(environment.plugin)
    _replace_text(environment.plugin / "memory.py", "from -1 towards 1,", "from -1 towards 1;")
    assert environment.lftool("build") == Outcome(
        status=8,
        out="",
        err=(
            "    fetch  base  cached: ramp.gguf\n"
            f"error: plugin lftool-example: the lock pins version 0.1.0 (sha256 {pinned}),"
            f" installed is 0.1.0 (sha256 {_digest_of(environment.plugin)})\n"
            "  hint: while you write it: lftool lock --editable lftool-example, with pip install -e\n"
            "  hint: or accept the installed one: lftool lock --upgrade plugin:lftool-example\n"
        ),
    )
    assert environment.lock.read_bytes() == lock
    assert not list(environment.project.glob("dist/*"))


def test_lock_alone_does_not_accept_a_changed_plugin(environment: Environment) -> None:
    environment.lftool("lock").assert_success()
    lock = environment.lock.read_bytes()
    _replace_text(environment.plugin / "memory.py", "from -1 towards 1,", "from -1 towards 1;")
    assert environment.lftool("lock").status == 8
    assert environment.lock.read_bytes() == lock


def test_upgrade_of_the_plugin_accepts_it_and_moves_nothing_else(environment: Environment) -> None:
    environment.lftool("lock").assert_success()
    before = environment.read_lock()
    _replace_text(environment.plugin / "memory.py", "from -1 towards 1,", "from -1 towards 1;")
    environment.lftool("lock", "--upgrade", "plugin:lftool-example").assert_success()
    expected = {**before, "plugins": {"lftool-example": {"version": "0.1.0", "sha256": _digest_of(environment.plugin)}}}
    assert environment.read_lock() == expected
    environment.lftool("build").assert_success()


def test_bytecode_is_not_part_of_the_digest(environment: Environment) -> None:
    environment.lftool("lock").assert_success()
    lock = environment.lock.read_bytes()
    shutil.rmtree(environment.plugin / "__pycache__", ignore_errors=True)
    (environment.plugin / "__pycache__").mkdir()
    (environment.plugin / "__pycache__" / "stray.cpython-399.pyc").write_bytes(b"stray")
    environment.lftool("lock", "--upgrade").assert_success()
    assert environment.lock.read_bytes() == lock


def test_editable_install_has_the_digest_of_the_wheel(environment: Environment, installed: Path) -> None:
    environment.lftool("lock").assert_success()
    lock = environment.lock.read_bytes()
    site = _site_packages(environment.root)
    shutil.rmtree(environment.plugin)
    shutil.rmtree(next(site.glob("lftool_example-*.dist-info")))
    shutil.copytree(_site_packages(installed / "editable"), site, dirs_exist_ok=True)
    environment.lftool("lock", "--upgrade").assert_success()
    assert environment.lock.read_bytes() == lock
