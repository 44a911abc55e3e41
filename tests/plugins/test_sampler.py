"""The plugin that has one of each kind, tried by the kits: `lftool plugins test`, and its wheel of API 2.0."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lftool.api import HOOKS

if TYPE_CHECKING:
    from lftool.testing import ProjectFolder

FOLDER = "docs/examples/lftool-sampler"


@pytest.fixture
def sampler(repository, project, monkeypatch) -> ProjectFolder:
    """A project whose plugins are the sampler's package, which is not installed."""
    monkeypatch.syspath_prepend(repository / FOLDER / "src")
    yield project.with_plugins("lftool_sampler")
    for name in [name for name in sys.modules if name.partition(".")[0] == "lftool_sampler"]:
        del sys.modules[name]


def test_it_has_one_of_every_kind(sampler):
    listed = sampler.run("plugins", "list", "--json").assert_success().json()["plugins"]
    (found,) = [item for item in listed if item["distribution"] == "lftool-sampler"]
    assert found["status"] == "active"
    assert {f"lftool_{offer['kind']}" for offer in found["provides"]} == set(HOOKS)


def test_nothing_is_wrong_with_it(sampler):
    assert sampler.run("plugins", "check", "lftool-sampler").assert_success().err == ""


def test_it_imports_the_public_api_only(repository):
    sources = (repository / FOLDER / "src").rglob("*.py")
    imported = {
        name for path in sources for name in re.findall(r"(?m)^ *(?:from|import) (lftool\.[\w.]+)", path.read_text())
    }
    assert imported == {"lftool.api", "lftool.api.gguf", "lftool.api.http", "lftool.testing"}


def _passed(done) -> int:
    assert done.status == 0, done.out + done.err
    return int(re.search(r"(\d+) passed", done.out)[1])


@pytest.mark.slow
def test_the_kits_pass_without_a_test_of_its_own(sampler):
    """All but the faults of a server, which take a minute: they are in the long suite."""
    done = sampler.spawn("plugins", "test", "lftool-sampler", "--", "-k", "not a_fault_ends", timeout=600)
    assert _passed(done) > 50


@pytest.mark.slow
def test_a_source_that_reads_out_of_an_archive_passes_whatever_a_server_does(sampler):
    done = sampler.spawn("plugins", "test", "lftool-sampler", "-k", "a_fault_ends", timeout=900)
    assert _passed(done) == 17


def test_a_kit_finds_what_is_wrong(sampler):
    """A check that always holds; it is edited where the project looks for it."""
    path = sampler.home / "site" / "lftool_sampler" / "budget.py"
    path.write_text(path.read_text().replace("if size <= most else", "if True else"))
    done = sampler.spawn("plugins", "test", "lftool-sampler", "--", "-k", "Budget")
    assert done.status == 1
    assert "test_it_says_what_is_wrong_with_another" in done.out


def test_without_an_example_it_is_said_what_is_missing(sampler):
    path = sampler.home / "site" / "lftool_sampler" / "__init__.py"
    path.write_text(path.read_text().replace('("budget", CheckType): "bundles",', ""))
    done = sampler.spawn("plugins", "test", "lftool-sampler", "--", "-k", "Exporter")
    assert done.status == 2
    assert done.err.splitlines() == [
        "error: plugin 'lftool-sampler' of lftool-sampler 0 has records without an example to test them with",
        "  CheckType 'budget' needs an Example whose `make` gives CheckExample",
        "  hint: yield them from `lftool_examples`: lftool help plugin-api",
    ]


def test_an_example_of_nothing_is_named(sampler):
    path = sampler.home / "site" / "lftool_sampler" / "__init__.py"
    path.write_text(path.read_text().replace('("budget", CheckType)', '("bugdet", CheckType)'))
    done = sampler.spawn("plugins", "test", "lftool-sampler", "--", "-k", "Exporter")
    assert (done.status, "an Example is of CheckType 'bugdet', which the plugin does not offer" in done.err) == (
        2,
        True,
    )


def test_a_plugin_that_is_not_there_or_cannot_be_used(sampler):
    assert sampler.run("plugins", "test", "nothing").status == 2
    path = sampler.home / "site" / "lftool_sampler" / "__init__.py"
    path.write_text("raise ValueError('boom')\n")
    done = sampler.spawn("plugins", "test", "lftool-sampler", "--", "-k", "Exporter")
    assert (done.status, "could not be used: ValueError: boom" in done.err) == (8, True)


def test_a_whole_release_with_nothing_but_the_sampler(sampler):
    """Its converter, quantizer, layout, signer, check, exporter and command, in workers too, though it is not installed."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from lftool.testing import tiny_gguf

    tiny_gguf(sampler.root / "m.gguf", width=32)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (sampler.root / "k.pem").write_bytes(pem)
    sampler.write_recipe(
        '[bundle]\nname = "m"\nversion = "1"\n[sources.base]\nuri = "file:m.gguf"\n[model]\nweights = "base"\n'
        '[targets.half]\nlayout = "plain"\nlayout_options = { companions = false }\nquantize = "HALVED"\n'
        'options = { times = 3 }\n[[checks]]\nkind = "budget"\nmost_bytes = 1_000_000\n[sign]\nkey = "ed25519:k.pem"\n'
    )
    sampler.run("lock").assert_success()
    sampler.run("build").assert_success()
    bundle = sampler.root / "dist" / "m-1-half.plain"
    sampler.run("check", bundle).assert_success()
    assert sampler.run("export", "listing", bundle, "--title", "Hello").assert_success().out.startswith("# Hello\n")
    assert sampler.run("tensors", bundle).assert_success().out == "m 1: 12 tensors\n"
    assert 'uses = "HALVED+times=3"' in sampler.lock.read_text()


def test_the_plugin_of_api_2_0_loads_and_is_whole(repository, project, tmp_path):
    """Installed as it was when API 2.0 was made, and never changed: every later version of lftool must load it."""
    site = tmp_path / "site"
    shutil.copytree(repository / "tests" / "plugins" / "sampler-of-api-2.0", site)
    listed = (
        project.spawn("plugins", "list", "--json", env={"PYTHONPATH": str(site)}).assert_success().json()["plugins"]
    )
    (found,) = [item for item in listed if item["distribution"] == "lftool-sampler"]
    assert (found["status"], found["reason"], len(found["provides"])) == ("active", "", 22)
    checked = project.spawn("plugins", "check", "sampler", env={"PYTHONPATH": str(site)}).assert_success()
    assert checked.out == "1 plugin checked, 0 problems\n"


def test_its_own_tests_pass(repository):
    folder = repository / FOLDER
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        folder / "pyproject.toml",
        "--rootdir",
        folder,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
