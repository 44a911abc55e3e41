"""Commands that read somebody else's files import no third-party plugin; a bundle can never cause an import."""

from __future__ import annotations

import pytest


@pytest.fixture
def marker(site, tmp_path):
    """A file that appears when the installed plugin is imported."""
    path = tmp_path / "imported"
    site.install("marking", f"import pathlib; pathlib.Path({str(path)!r}).touch()")
    return path


def test_listing_plugins_imports_the_marking_plugin(lftool, marker):
    lftool("plugins", "list").assert_success()
    assert marker.exists()


@pytest.fixture
def bundle(plain_project):
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    return plain_project.root / "dist" / "tiny-1-plain.gguf"


COMMANDS = {
    "version": ("--version",),
    "help": ("--help",),
    "verify": ("verify", "--allow-unsigned", "--full", "{bundle}"),
    "inspect": ("inspect", "{bundle}"),
    "inspect as JSON": ("inspect", "--json", "{bundle}"),
    "extract": ("extract", "{bundle}", "parts"),
    "check of the lock": ("lock", "--check"),
    "schema": ("schema", "lock"),
    "cache": ("cache", "size"),
    "keygen": ("keygen", "-o", "release"),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_command_imports_no_third_party_plugin(lftool, marker, bundle, arguments):
    lftool(*(text.format(bundle=bundle) for text in arguments)).assert_success()
    assert not marker.exists()


def test_verify_with_a_key_imports_no_third_party_plugin(lftool, marker, plain_project):
    plain_project.run("keygen", "-o", "release").assert_success()
    plain_project.write_recipe(plain_project.recipe.read_text() + '\n[sign]\nkey = "file:release.key"\n')
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    lftool("verify", "--key", "release.pub", "dist/tiny-1-plain.gguf").assert_success()
    assert not marker.exists()
