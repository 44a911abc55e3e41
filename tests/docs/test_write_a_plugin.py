"""The plugins that the page on writing one shows do what it says: they lock, build, check and pass their kits."""

import re
import sys
import tomllib

import pytest

from lftool.testing import tiny_gguf

_FILE = re.compile(r"^```(?:python|toml)\n# (\S+\.(?:py|toml))\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPE = """\
[bundle]
name = "tiny"
version = "1"

{source}
[model]
weights = "base"

[targets.plain]
layout = "gguf"
"""


@pytest.fixture
def page(repository):
    return (repository / "docs" / "how-to" / "write-a-plugin.md").read_text()


@pytest.fixture
def shown(page, project, monkeypatch):
    """The files that the page shows, in a folder that Python looks in; the project has the two plugins."""
    folder = project.home / "shown"
    folder.mkdir()
    for name, text in _FILE.findall(page):
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    yield project.with_plugins("lftool_shelf", "lftool_brief")
    for name in [name for name in sys.modules if name.startswith(("lftool_shelf", "lftool_brief"))]:
        del sys.modules[name]


def test_every_python_block_is_a_file(page):
    assert sorted(name for name, _ in _FILE.findall(page)) == [
        "lftool_brief.py",
        "lftool_brief_examples.py",
        "lftool_shelf.py",
        "pyproject.toml",
    ]
    assert page.count("```python") == 3


def test_the_package_has_the_module_of_its_entry_point(page):
    package = tomllib.loads(dict(_FILE.findall(page))["pyproject.toml"])
    modules = package["project"]["entry-points"]["lftool"].values()
    assert [f"{module}.py" for module in modules] == package["tool"]["hatch"]["build"]["targets"]["wheel"][
        "only-include"
    ]


@pytest.mark.parametrize("name", ["lftool-shelf", "lftool-brief"])
def test_nothing_is_wrong_with_them(shown, name):
    done = shown.run("plugins", "check", name).assert_success()
    assert done.err == ""


def test_the_source_fetches_from_the_users_root(page, shown):
    (source,) = re.findall(r"^```toml\n(\[sources\.base\]\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    models = shown.home / "models"
    models.mkdir()
    tiny_gguf(models / "model.gguf", width=32)
    shown.write_configuration(f'[roots]\nmodels = "{models}"\n')
    shown.write_recipe(RECIPE.format(source=source))
    shown.run("lock").assert_success()
    shown.run("build").assert_success()
    assert "lftool-shelf" in tomllib.loads(shown.lock.read_text())["plugins"]
    shown.run("verify", "--allow-unsigned", "dist/tiny-1-plain.gguf").assert_success()


def test_the_check_passes_its_kit(shown):
    done = shown.spawn("plugins", "test", "lftool-brief", timeout=300)
    assert (done.status, done.err) == (0, ""), done.out + done.err
    assert re.search(r"[1-9]\d* passed", done.out)
