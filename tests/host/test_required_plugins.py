"""`[plugins]` of a recipe: what must be installed to lock and build."""

from __future__ import annotations

import pytest

from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
[plugins]
"""


@pytest.fixture
def recipe(site, lftool):
    site.install("demo-shop", "", version="3.1")
    tiny_gguf(lftool.project.root / "model.gguf", width=32)
    return lambda plugins: lftool.project.write_recipe(RECIPE + plugins)


@pytest.mark.parametrize("versions", [">=3,<4", "==3.1", ""])
def test_a_plugin_of_a_version_that_will_do_is_no_matter(recipe, lftool, versions):
    recipe(f'demo-shop = "{versions}"\n')
    lftool("lock").assert_success()
    lftool("build").assert_success()


@pytest.mark.parametrize(
    ("plugins", "said", "hint"),
    [
        ('demo-shop = ">=4"', "the plugin demo-shop >=4, which is installed as 3.1", "pip install 'demo-shop>=4'"),
        ('nobody = ">=1"', "the plugin nobody >=1, which is not installed", "pip install 'nobody>=1'"),
        ('nobody = ""', "the plugin nobody of any version, which is not installed", "pip install 'nobody'"),
    ],
)
@pytest.mark.parametrize("command", ["lock", "build"])
def test_one_that_is_missing_or_of_another_version_ends_with_the_command_that_installs_it(
    recipe, lftool, plugins, said, hint, command
):
    recipe("")
    lftool("lock").assert_success()
    recipe(plugins)
    outcome = lftool(command)
    assert (outcome.status, outcome.err) == (8, f"error: the recipe needs {said}\n  hint: {hint}\n")


def test_what_names_no_versions_is_a_wrong_recipe(recipe, lftool):
    recipe('demo-shop = "three"\n')
    outcome = lftool("lock")
    assert (outcome.status, outcome.err.splitlines()[0]) == (
        2,
        "error: plugins.demo-shop: 'three' is not a version specifier",
    )


def test_the_table_changes_nothing_that_is_built(recipe, lftool):
    recipe("")
    lftool("lock").assert_success()
    before = lftool.project.lock.read_bytes()
    recipe('demo-shop = ">=3"\n')
    lftool("lock", "--check").assert_success()
    lftool("lock").assert_success()
    assert lftool.project.lock.read_bytes() == before
